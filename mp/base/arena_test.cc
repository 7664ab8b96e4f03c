#include "mp/base/arena.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_transit.h"
#include "mp/base/fd.h"
#include "mp/base/format_head.h"
#include "mp/base/members.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::StatusIs;

class ArenaTest : public ::testing::Test {
 protected:
  Slot Allocate(size_t bytes) { return arena_.Allocate(bytes).value(); }

  char* BytesOf(const Slot& slot) { return static_cast<char*>(slot.data()); }

  testing::LeakCheck leak_check_;
  Arena arena_ = Arena::Create().value();
};

bool IsZero(const Slot& slot) {
  const auto* bytes = static_cast<const char*>(slot.data());
  return std::string(bytes, slot.size()) == std::string(slot.size(), '\0');
}

// ---- Slots in one process

TEST_F(ArenaTest, GivesAlignedZeros) {
  for (const size_t bytes : {1, 64, 65, 1000, 4096, 65535, 65536}) {
    const Slot slot = Allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(slot.data()) % 64, 0u) << bytes;
    EXPECT_GE(slot.size(), bytes);
    EXPECT_LT(slot.size(), 2 * std::max<size_t>(bytes, 64));
    EXPECT_TRUE(IsZero(slot)) << bytes;
    std::memset(slot.data(), 'x', slot.size());
  }
}

TEST_F(ArenaTest, RefusesSizesThatASlotCannotHave) {
  EXPECT_THAT(arena_.Allocate(0), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      arena_.Allocate(Arena::kMaxSlotBytes + 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65537 bytes")));
}

TEST_F(ArenaTest, SlotsDoNotOverlap) {
  std::vector<Slot> slots;
  for (int i = 0; i < 3000; ++i) {
    slots.push_back(Allocate(static_cast<size_t>(1 + i * 7 % 300)));
    std::memset(slots.back().data(), i % 251, slots.back().size());
  }
  for (int i = 0; i < 3000; ++i) {
    const std::string wanted(slots[i].size(), static_cast<char>(i % 251));
    ASSERT_EQ(std::string(BytesOf(slots[i]), slots[i].size()), wanted) << i;
  }
}

TEST_F(ArenaTest, AFreedSlotIsUsedAgainAndZeroed) {
  Slot slot = Allocate(100);
  void* const data = slot.data();
  std::memset(data, 'x', slot.size());
  slot = Slot();
  slot = Allocate(100);
  EXPECT_EQ(slot.data(), data);
  EXPECT_TRUE(IsZero(slot));
}

TEST_F(ArenaTest, TheLastCopyFrees) {
  Slot slot = Allocate(100);
  void* const data = slot.data();
  Slot copy = slot;
  Slot moved = std::move(slot);
  EXPECT_EQ(slot.data(), nullptr);
  EXPECT_EQ(copy, moved);
  copy = Slot();
  EXPECT_NE(Allocate(100).data(), data);
  moved = Slot();
  EXPECT_EQ(Allocate(100).data(), data);
}

TEST_F(ArenaTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Slot> mine;
      for (int i = 0; i < 2000; ++i) {
        mine.push_back(Allocate(64));
        ASSERT_TRUE(IsZero(mine.back()));
        std::memset(mine.back().data(), 'a' + t, 64);
        if (i % 3 == 0) mine.erase(mine.begin() + i / 6);
      }
      for (const Slot& slot : mine) ASSERT_EQ(*BytesOf(slot), 'a' + t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ArenaTest, SaysWhenItIsFullAndGoesOnWhenSomethingIsFreed) {
  std::vector<Slot> slots;
  absl::StatusOr<Slot> slot;
  while ((slot = arena_.Allocate(65536)).ok()) slots.push_back(*slot);
  EXPECT_THAT(slot, StatusIs(absl::StatusCode::kResourceExhausted,
                             HasSubstr("268435456 bytes")));
  EXPECT_EQ(slots.size(), 1023u * 3);
  slots.erase(slots.begin() + 1000);
  EXPECT_THAT(arena_.Allocate(65536), IsOk());
}

TEST_F(ArenaTest, AHundredThousandSlotsNeedOneDescriptor) {
  const auto before = testing::ResourceSnapshot::Take();
  std::vector<Slot> slots;
  for (int i = 0; i < 100000; ++i) slots.push_back(Allocate(16));
  EXPECT_THAT(testing::LeaksSince(before), ::testing::IsEmpty());
}

TEST_F(ArenaTest, DefaultIsTheSameUntilItIsNearlyFull) {
  Child child = RunInChild([&]() -> absl::Status {
    Arena first = Arena::Default().value();
    EXPECT_EQ(Arena::Default().value(), first);
    std::vector<Slot> slots;
    while (Arena::Default().value() == first) {
      slots.push_back(first.Allocate(65536).value());
    }
    // There is room for any other size.
    MP_RETURN_IF_ERROR(first.Allocate(1).status());
    return Arena::Default().value().Allocate(65536).status();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// ---- Attach and Receive

TEST_F(ArenaTest, TheSameFileIsMappedOnce) {
  absl::StatusOr<Arena> again = Arena::Attach(*Fd::DupOf(arena_.fd()));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*again, arena_);
  Slot slot = Allocate(8);
  absl::StatusOr<Slot> same = Slot::Receive(*slot.Ship(), slot.offset());
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(*same, slot);
}

TEST_F(ArenaTest, ForgedOffsetsAreRefused) {
  const Slot small = Allocate(64);
  const Slot large = Allocate(65536);
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{64}, small.offset() - 64, small.offset() + 1,
        small.offset() + 64, small.offset() + 128, large.offset() + 64,
        large.offset() + 2 * 65600, uint64_t{arena_.size_bytes()},
        arena_.size_bytes() - 64, UINT64_MAX, UINT64_MAX - 63}) {
    EXPECT_THAT(Slot::Receive(*small.Ship(), offset),
                StatusIs(absl::StatusCode::kDataLoss))
        << offset;
  }
  // All offsets there are, as many as are used.
  int used = 0;
  for (uint64_t offset = 0; offset < 4 * internal::kChunkBytes; offset += 8) {
    if (Slot::Receive(arena_, offset).ok()) ++used;
  }
  EXPECT_EQ(used, 2);
}

TEST_F(ArenaTest, RefusesWhatIsNoArena) {
  const auto attach = [](int fd) { return Arena::Attach(Fd(fd)); };
  const auto data_loss = StatusIs(absl::StatusCode::kDataLoss);
  EXPECT_THAT(attach(-1), data_loss);
  EXPECT_THAT(attach(open("/dev/null", O_RDWR | O_CLOEXEC)), data_loss);
  EXPECT_THAT(attach(memfd_create("x", MFD_CLOEXEC)), data_loss);
  EXPECT_THAT(Slot::Receive(Fd(open("/dev/zero", O_RDWR | O_CLOEXEC)), 64),
              data_loss);
  const std::string path = absl::StrCat("/proc/self/fd/", arena_.fd());
  Arena other = Arena::Create().value();
  EXPECT_THAT(attach(open(absl::StrCat("/proc/self/fd/", other.fd()).c_str(),
                          O_RDONLY | O_CLOEXEC)),
              IsOk());  // mapped already
  other = Arena();
}

// A memfd that looks like an arena but for what `damage` does to it.
absl::Status AttachDamaged(void (*damage)(internal::ArenaHead&),
                           size_t bytes = internal::kMinArenaBytes,
                           int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
  Fd fd(memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) std::abort();
  internal::ArenaHead head = {};
  head.format = FormatHead::Of(internal::kArenaMagic, internal::kArenaVersion,
                               sizeof(head));
  head.file_bytes = bytes;
  head.next_chunk = 1;
  damage(head);
  if (pwrite(fd.get(), &head, 4096, 0) != 4096) std::abort();
  if (fcntl(fd.get(), F_ADD_SEALS, seals) != 0) std::abort();
  return Arena::Attach(std::move(fd)).status();
}

TEST_F(ArenaTest, RefusesADamagedHead) {
  const auto nothing = [](internal::ArenaHead&) {};
  EXPECT_THAT(AttachDamaged(nothing), IsOk());
  EXPECT_THAT(AttachDamaged([](auto& head) { head.format.magic[2] = 'x'; }),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(AttachDamaged([](auto& head) { head.file_bytes *= 2; }),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(AttachDamaged([](auto& head) { head.format.head_bytes += 1; }),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(AttachDamaged(nothing, internal::kMinArenaBytes + 4096),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(AttachDamaged(nothing, internal::kMaxArenaBytes * 2),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(AttachDamaged(nothing, internal::kMinArenaBytes, F_SEAL_GROW),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sealed")));
  EXPECT_THAT(AttachDamaged(nothing, internal::kMinArenaBytes,
                            F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("read-only")));
}

TEST_F(ArenaTest, SaysHowAnotherProgramWasBuilt) {
  EXPECT_THAT(AttachDamaged([](auto& head) { head.format.version = 77; }),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("version 77, this one has 1")));
  EXPECT_THAT(AttachDamaged([](auto& head) { head.format.word_bytes = 4; }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("4")));
  EXPECT_THAT(
      AttachDamaged([](auto& head) { head.format.build ^= 1; }),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               ::testing::AllOf(HasSubstr("debug"), HasSubstr("optimized"))));
}

// What lies in the file is others' to write: a wrong answer is all right, a
// crash is not.
TEST_F(ArenaTest, SurvivesRubbishInTheFile) {
  std::vector<Slot> slots;
  for (int i = 0; i < 50; ++i) slots.push_back(Allocate(64 << (i % 11)));
  const std::vector<std::pair<uint64_t, size_t>> where = {
      {offsetof(internal::ArenaHead, next_chunk), 64},
      {offsetof(internal::ArenaHead, chunks),
       sizeof(internal::ArenaHead) - 4096},
      {internal::kChunkBytes, 12 * internal::kChunkBytes}};
  char* const base = BytesOf(slots[0]) - slots[0].offset();
  uint32_t random = 1;
  for (int round = 0; round < 30; ++round) {
    for (const auto& [offset, bytes] : where) {
      for (int i = 0; i < 2000; ++i) {
        random = random * 1664525 + 1013904223;
        const uint64_t at = offset + (random >> 4) % bytes / 4 * 4;
        random = random * 1664525 + 1013904223;
        const uint32_t value = random >> (random % 29);
        std::memcpy(base + at, &value, sizeof(value));
      }
    }
    slots.resize(slots.size() / 2);
    for (int i = 0; i < 50; ++i) {
      absl::StatusOr<Slot> slot = arena_.Allocate(64 << (i % 11));
      if (slot.ok()) slots.push_back(*slot);
      absl::StatusOr<Slot> got =
          Slot::Receive(arena_, internal::kChunkBytes + 64 + 128 * i);
      if (got.ok()) slots.push_back(*got);
    }
    arena_.map().Sweep();
  }
}

// ---- Limits

absl::Status Expect(bool condition, const std::string& what) {
  return condition ? absl::OkStatus() : absl::InternalError(what);
}

absl::Status Limit(int resource, rlim_t value) {
  const struct rlimit limit = {value, value};
  return Expect(setrlimit(resource, &limit) == 0, "setrlimit");
}

rlim_t AddressSpaceBytes() {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

TEST_F(ArenaTest, IsSmallerWhereFilesMustBe) {
  Child child = RunInChild([]() -> absl::Status {
    MP_RETURN_IF_ERROR(Limit(RLIMIT_FSIZE, (3 << 20) + 1));
    MP_ASSIGN_OR_RETURN(Arena arena, Arena::Create());
    MP_RETURN_IF_ERROR(Expect(arena.size_bytes() == 2 << 20, "not 2 MiB"));
    return arena.Allocate(10000).status();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ArenaTest, SaysThatFilesMustBeTooSmall) {
  Child child = RunInChild([]() -> absl::Status {
    MP_RETURN_IF_ERROR(Limit(RLIMIT_FSIZE, 1000000));
    const absl::Status made = Arena::Create().status();
    EXPECT_THAT(made, StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("RLIMIT_FSIZE")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ArenaTest, IsSmallerWhereThereIsLittleAddressSpace) {
  if (kAddressSanitizer || kThreadSanitizer) {
    GTEST_SKIP() << "a sanitizer needs more address space than any limit";
  }
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(
        Limit(RLIMIT_AS, AddressSpaceBytes() + (rlim_t{100} << 20)));
    MP_ASSIGN_OR_RETURN(Arena arena, Arena::Create());
    MP_RETURN_IF_ERROR(Expect(arena.size_bytes() == 32 << 20, "not 32 MiB"));
    MP_RETURN_IF_ERROR(arena.Allocate(10000).status());
    MP_RETURN_IF_ERROR(Limit(RLIMIT_AS, 1 << 20));
    EXPECT_THAT(Arena::Create(), StatusIs(absl::StatusCode::kResourceExhausted,
                                          HasSubstr("ulimit -v")));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// Whether this process, from now on, has a /dev/shm of 1 MiB.
bool HasSmallDevShm() {
  return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
         mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") == 0;
}

TEST_F(ArenaTest, DoesNotNeedDevShm) {
  constexpr int kSkipped = 77;
  Child child = RunInChild([]() -> absl::Status {
    if (!HasSmallDevShm()) _exit(kSkipped);
    MP_ASSIGN_OR_RETURN(Arena arena, Arena::Create());
    std::vector<Slot> slots;
    for (int i = 0; i < 100; ++i) {
      MP_ASSIGN_OR_RETURN(Slot slot, arena.Allocate(65536));
      std::memset(slot.data(), 'x', slot.size());
      slots.push_back(std::move(slot));
    }
    return slots[0].Ship().status();
  });
  const testing::ExitStatus status = child.Wait();
  if (status == testing::ExitStatus{kSkipped}) {
    GTEST_SKIP() << "no mount namespace can be made here";
  }
  EXPECT_THAT(status, ExitedWith(0));
}

TEST_F(ArenaTest, SaysThatThereAreNoDescriptors) {
  Child child = RunInChild([&]() -> absl::Status {
    Slot slot = Allocate(8);
    MP_RETURN_IF_ERROR(Limit(RLIMIT_NOFILE, 3));
    const auto exhausted = StatusIs(absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(Arena::Create(), exhausted);
    EXPECT_THAT(slot.Ship(), exhausted);
    // What this process has goes on to work.
    return arena_.Allocate(8).status();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ArenaTest, GoesOnWithoutItsDescriptor) {
  Child child = RunInChild([&]() -> absl::Status {
    arena_ = Arena::Default().value();
    Slot slot = Allocate(8);
    Slot second = Allocate(8);
    close(arena_.fd());
    const Fd other(memfd_create("other", MFD_CLOEXEC));  // has its number
    second = Slot();
    MP_RETURN_IF_ERROR(arena_.Allocate(8).status());
    EXPECT_THAT(slot.Ship(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                      HasSubstr("closed")));
    // New objects are made where they can travel.
    MP_ASSIGN_OR_RETURN(Arena fresh, Arena::Default());
    MP_ASSIGN_OR_RETURN(slot, fresh.Allocate(8));
    MP_RETURN_IF_ERROR(slot.Ship().status());
    arena_ = Arena();
    return Expect(fcntl(other.get(), F_GETFD) >= 0, "closed a stranger's");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp
