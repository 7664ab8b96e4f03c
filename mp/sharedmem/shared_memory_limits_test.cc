// Blocks where there is not enough of something: a status, never a signal.

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::ExitStatus;
using ::mp::testing::IsOk;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kMebibyte = int64_t{1} << 20;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
// What a child exits with if this machine does not let it do the test.
constexpr int kNotHere = 77;

void SetLimit(decltype(RLIMIT_AS) which, rlim_t value) {
  const rlimit limit = {value, value};
  if (setrlimit(which, &limit) != 0) _exit(kNotHere);
}

bool WriteFile(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// Has this process see a /dev/shm of 1 MiB, or end.
void MountSmallShm() {
  const uid_t uid = getuid();
  const gid_t gid = getgid();
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) _exit(kNotHere);
    WriteFile("/proc/self/setgroups", "deny");
    if (!WriteFile("/proc/self/uid_map", absl::StrCat(uid, " ", uid, " 1")) ||
        !WriteFile("/proc/self/gid_map", absl::StrCat(gid, " ", gid, " 1"))) {
      _exit(kNotHere);
    }
  }
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0) {
    _exit(kNotHere);
  }
}

// Passes if a child does, and is skipped if that cannot be done here.
#define EXPECT_CHILD_PASSES(child, what)                                      \
  do {                                                                        \
    const ExitStatus status = (child).Wait();                                 \
    if (status == ExitStatus{kNotHere}) GTEST_SKIP() << "not allowed: " what; \
    EXPECT_THAT(status, ExitedWith(0));                                       \
  } while (false)

TEST(SharedMemoryLimitsTest, MoreThanASmallShmHoldsIsRefused) {
  Child child = RunInChild([]() -> absl::Status {
    MountSmallShm();
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

TEST(SharedMemoryLimitsTest, AnonymousBlocksNeedNoShm) {
  Child child = RunInChild([]() -> absl::Status {
    MountSmallShm();
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
    int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    SetLimit(RLIMIT_AS, pages * sysconf(_SC_PAGESIZE) + 512 * kMebibyte);
    for (const bool named : {false, true}) {
      EXPECT_THAT(SharedMemory::Create(1024 * kMebibyte, {.named = named}),
                  StatusIs(kExhausted, HasSubstr("ulimit -v")));
    }
    EXPECT_THAT(SharedMemory::Create(kMebibyte), IsOk());
    return absl::OkStatus();
  });
  EXPECT_CHILD_PASSES(child, "setrlimit");
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
    EXPECT_THAT(SharedMemory::List(), StatusIs(kExhausted));
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
