// Blocks where there is not enough of something: a status, never a signal.

#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/own_shm.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/child.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::IsOk;
using ::mp::testing::RunInChild;
using ::mp::testing::SignalStorm;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kMebibyte = int64_t{1} << 20;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;

void SetLimit(decltype(RLIMIT_AS) which, rlim_t value) {
  const rlimit limit = {value, value};
  if (setrlimit(which, &limit) != 0) _exit(internal::kNotHere);
}

// Lets this process map half a GiB more.
void LimitTheAddressSpace() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  SetLimit(RLIMIT_AS, pages * sysconf(_SC_PAGESIZE) + 512 * kMebibyte);
}

TEST(SharedMemoryLimitsTest, MoreThanASmallShmHoldsIsRefused) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    EXPECT_THAT(SharedMemory::Create(2 * kMebibyte, {.named = true}),
                StatusIs(kExhausted, HasSubstr("/dev/shm")));
    EXPECT_THAT(
        SharedMemory::From(std::string(2 * kMebibyte, 'x'), {.named = true}),
        StatusIs(kExhausted));
    EXPECT_THAT(SharedMemory::List(), IsOk());
    // Both fit as long as they are not touched.
    const auto one = SharedMemory::Create(700 << 10, {.named = true});
    const auto two = SharedMemory::Create(700 << 10, {.named = true});
    MP_RETURN_IF_ERROR(one.status());
    MP_RETURN_IF_ERROR(two.status());
    EXPECT_THAT(one->Reserve(), IsOk());
    EXPECT_THAT(two->Reserve(), StatusIs(kExhausted, HasSubstr("/dev/shm")));
    EXPECT_THAT(two->Fill('x'), StatusIs(kExhausted));
    const std::string little(60'000, 'x');
    EXPECT_THAT(one->Fill('x'), IsOk());
    absl::Status copied;
    for (size_t at = 0; copied.ok() && at + little.size() <= two->size();) {
      copied = two->CopyFrom(little, at);
      at += little.size();
    }
    EXPECT_THAT(copied, StatusIs(kExhausted));
    EXPECT_THAT(one->Fill('x'), IsOk());
    EXPECT_THAT(
        SharedMemory::Create(700 << 10, {.named = true, .reserve = true}),
        StatusIs(kExhausted));
    EXPECT_EQ(SharedMemory::List()->size(), 2);
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

// Whether a name has been made or moved since inotify_add_watch().
bool HasSeenAName(const Fd& watch) {
  char events[4096];
  return read(watch.get(), events, sizeof(events)) > 0;
}

TEST(SharedMemoryLimitsTest, BlockHasNoNameBeforeItsMemory) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    MP_RETURN_IF_ERROR(SharedMemory::Create(1, {.name = "first"}).status());
    const auto large =
        SharedMemory::Create(700 << 10, {.named = true, .reserve = true});
    MP_RETURN_IF_ERROR(large.status());
    const Fd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (inotify_add_watch(watch.get(), "/dev/shm", IN_CREATE | IN_MOVED_TO) <
        0) {
      _exit(internal::kNotHere);
    }
    EXPECT_THAT(SharedMemory::Create(300 << 10, {.named = true}), IsOk());
    EXPECT_TRUE(HasSeenAName(watch));
    EXPECT_THAT(
        SharedMemory::Create(400 << 10, {.named = true, .reserve = true}),
        StatusIs(kExhausted));
    EXPECT_FALSE(HasSeenAName(watch));
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryLimitsTest, MemoryGoesWithItsNameThoughItsOwnerLives) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    for (int i = 0; i < 3; ++i) {
      auto block =
          SharedMemory::Create(700 << 10, {.name = "large", .reserve = true});
      MP_RETURN_IF_ERROR(block.status());
      block->Close();
      EXPECT_EQ(unlink("/dev/shm/large"), 0);
    }
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryLimitsTest, AnonymousBlocksNeedNoShm) {
  Child child = RunInChild([]() -> absl::Status {
    internal::MountOwnShm();
    const auto block = SharedMemory::Create(8 * kMebibyte, {.reserve = true});
    MP_RETURN_IF_ERROR(block.status());
    return block->Fill('x');
  });
  EXPECT_CHILD_PASSES(child, "a mount namespace");
}

TEST(SharedMemoryLimitsTest, LimitOfFilesIsAStatus) {
  Child child = RunInChild([]() -> absl::Status {
    const auto old = SharedMemory::Create(2 * kMebibyte);
    SetLimit(RLIMIT_FSIZE, kMebibyte);
    for (const bool named : {false, true}) {
      EXPECT_THAT(SharedMemory::Create(kMebibyte + 1, {.named = named}),
                  StatusIs(kExhausted, HasSubstr("RLIMIT_FSIZE")));
      EXPECT_THAT(SharedMemory::Create(kMebibyte, {.named = named}), IsOk());
    }
    auto growing = SharedMemory::Create(kMebibyte, {.resizable = true});
    EXPECT_THAT(growing->Resize(2 * kMebibyte), StatusIs(kExhausted));
    // One that is there can be used.
    EXPECT_THAT(old->CopyFrom(std::string(2 * kMebibyte, 'x')), IsOk());
    EXPECT_THAT(old->Reserve(), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "setrlimit");
}

TEST(SharedMemoryLimitsTest, LimitOfTheAddressSpaceIsAStatus) {
  Child child = RunInChild([]() -> absl::Status {
    LimitTheAddressSpace();
    for (const bool named : {false, true}) {
      EXPECT_THAT(SharedMemory::Create(1024 * kMebibyte, {.named = named}),
                  StatusIs(kExhausted, HasSubstr("ulimit -v")));
    }
    EXPECT_THAT(SharedMemory::Create(kMebibyte), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "setrlimit");
}

TEST(SharedMemoryLimitsTest, FailedResizeChangesNothing) {
  Child child = RunInChild([]() -> absl::Status {
    LimitTheAddressSpace();
    for (const bool named : {false, true}) {
      auto block =
          SharedMemory::Create(kMebibyte, {.named = named, .resizable = true});
      MP_RETURN_IF_ERROR(block.status());
      EXPECT_THAT(block->Resize(1024 * kMebibyte),
                  StatusIs(kExhausted, HasSubstr("ulimit -v")));
      EXPECT_EQ(block->size(), kMebibyte);
      EXPECT_THAT(block->Refresh(), IsOk());
      EXPECT_EQ(block->size(), kMebibyte);
      EXPECT_THAT(block->Resize(2 * kMebibyte), IsOk());
    }
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "setrlimit");
}

TEST(SharedMemoryLimitsTest, FailedOpenOwnsNothing) {
  const auto block =
      SharedMemory::Create(1024 * kMebibyte, {.named = true, .track = false});
  ASSERT_THAT(block, IsOk());
  for (const int signal : {0, SIGKILL}) {
    Child child = RunInChild([&]() -> absl::Status {
      LimitTheAddressSpace();
      EXPECT_THAT(SharedMemory::Open(block->name(), {.track = true}),
                  StatusIs(kExhausted));
      if (signal == SIGKILL) raise(signal);
      return absl::OkStatus();
    });
    child.Wait();
    EXPECT_THAT(SharedMemory::List(), IsOk());
    EXPECT_THAT(SharedMemory::Open(block->name()), IsOk());
  }
  EXPECT_THAT(block->Unlink(), IsOk());
}

TEST(SharedMemoryLimitsTest, ReserveGetsDoneThoughSignalsComeFaster) {
  const auto block = SharedMemory::Create(128 * kMebibyte);
  ASSERT_THAT(block, IsOk());
  const SignalStorm storm(absl::Microseconds(500));
  EXPECT_THAT(block->Reserve(), IsOk());
}

TEST(SharedMemoryLimitsTest, LackOfDescriptorsIsAStatus) {
  Child child = RunInChild([]() -> absl::Status {
    const auto anonymous = SharedMemory::Create(100);
    const auto named = SharedMemory::Create(100, {.named = true});
    // From the next free one on, there are none.
    const Fd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
    SetLimit(RLIMIT_NOFILE, next.get() + 1);
    EXPECT_THAT(SharedMemory::Create(100), StatusIs(kExhausted));
    EXPECT_THAT(SharedMemory::Create(100, {.named = true}),
                StatusIs(kExhausted));
    EXPECT_THAT(SharedMemory::Open(named->name()), StatusIs(kExhausted));
    EXPECT_THAT(SharedMemory::List(), IsOk());
    EXPECT_THAT(named->Unlink(), IsOk());
    EXPECT_THAT(anonymous->ReadOnly(), StatusIs(kExhausted));
    EXPECT_THAT(anonymous->CopyFrom("still works"), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "setrlimit");
}

TEST(SharedMemoryLimitsTest, MoreThanTheMachineHasIsNotReserved) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t total_kb = 0;
  file >> key >> total_kb;
  ASSERT_EQ(key, "MemTotal:");
  const auto block = SharedMemory::Create(2 * total_kb * 1024);
  ASSERT_THAT(block, IsOk());
  EXPECT_THAT(block->Reserve(), StatusIs(kExhausted, HasSubstr("to spare")));
  EXPECT_THAT(SharedMemory::Create(2 * total_kb * 1024, {.reserve = true}),
              StatusIs(kExhausted));
}

}  // namespace
}  // namespace mp
