#include "mp/process/internal/crash_arena.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::LeaksSince;
using ::mp::testing::ResourceSnapshot;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::IsEmpty;
using ::testing::Not;

CrashSlotLease Take() { return *CrashArena::Get().Take(); }

// Maps the page that the ticket is for.
CrashSlot* Map(const CrashSlotTicket& ticket) {
  void* const page =
      mmap(nullptr, kCrashSlotBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
           ticket.memory.get(), static_cast<off_t>(ticket.offset));
  return page == MAP_FAILED ? nullptr : static_cast<CrashSlot*>(page);
}

class CrashArenaTest : public ::testing::Test {
 protected:
  // The first memfd stays.
  CrashArenaTest() { Take().GiveBack(); }
};

TEST_F(CrashArenaTest, TicketLeadsToTheLeasesPage) {
  LeakCheck leak_check;
  const CrashSlotLease first = Take();
  const CrashSlotLease second = Take();
  EXPECT_NE(first.slot(), second.slot());
  const absl::StatusOr<CrashSlotTicket> ticket = second.MakeTicket();
  ASSERT_THAT(ticket, IsOk());
  CrashSlot* const page = Map(*ticket);
  ASSERT_NE(page, nullptr);
  page->exit_note = CrashSlot::kExited + 3;
  EXPECT_EQ(second.slot()->exit_note, CrashSlot::kExited + 3);
  EXPECT_EQ(first.slot()->exit_note, 0u);
  munmap(page, kCrashSlotBytes);
}

TEST_F(CrashArenaTest, SlotIsUsedAgainAndThenEmpty) {
  const CrashSlot* slot;
  {
    const CrashSlotLease lease = Take();
    slot = lease.slot();
    CrashSlot* const page = Map(*lease.MakeTicket());
    page->signal = 11;
    page->stack.Append("#0");
    munmap(page, kCrashSlotBytes);
    EXPECT_EQ(slot->signal, 11u);
  }
  const CrashSlotLease lease = Take();
  EXPECT_EQ(lease.slot(), slot);
  EXPECT_EQ(slot->signal, 0u);
  EXPECT_EQ(slot->stack.published, 0u);
}

TEST_F(CrashArenaTest, MovedLeaseGivesBackOnce) {
  CrashSlotLease first = Take();
  const CrashSlot* const slot = first.slot();
  CrashSlotLease second = std::move(first);
  EXPECT_EQ(first.slot(), nullptr);  // NOLINT: that is the test
  EXPECT_EQ(second.slot(), slot);
  second.GiveBack();
  second.GiveBack();
  const CrashSlotLease third = Take();
  const CrashSlotLease fourth = Take();
  EXPECT_EQ(third.slot(), slot);
  EXPECT_NE(fourth.slot(), slot);
}

TEST_F(CrashArenaTest, GrowsAndShrinks) {
  LeakCheck leak_check;
  const ResourceSnapshot before = ResourceSnapshot::Take();
  std::vector<CrashSlotLease> leases;
  std::set<const CrashSlot*> slots;
  for (size_t i = 0; i < 2 * CrashArena::kSlotsPerChunk + 1; ++i) {
    leases.push_back(Take());
    slots.insert(leases.back().slot());
  }
  EXPECT_EQ(slots.size(), leases.size());
  EXPECT_THAT(LeaksSince(before), Not(IsEmpty()));
  leases.clear();
}

// As of a start that fails.
TEST_F(CrashArenaTest, NothingIsLeftOfTheFirstLeaseIfItIsNotKept) {
  Child child = RunInChild([]() -> absl::Status {
    CrashArena::Get().Forget();
    const ResourceSnapshot before = ResourceSnapshot::Take();
    Take();
    const bool undone = LeaksSince(before).empty();
    Take().GiveBack();
    const bool kept = !LeaksSince(before).empty();
    const ResourceSnapshot with = ResourceSnapshot::Take();
    Take();
    const bool still_kept = with.fds() == ResourceSnapshot::Take().fds();
    return undone && kept && still_kept ? absl::OkStatus()
                                        : absl::InternalError("otherwise");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(CrashArenaTest, NobodyCanTakeThePageAway) {
  const CrashSlotLease lease = Take();
  const CrashSlotTicket ticket = *lease.MakeTicket();
  EXPECT_NE(ftruncate(ticket.memory.get(), 0), 0);
  EXPECT_EQ(lease.slot()->signal, 0u);
}

// Lets this process open no descriptor, for the scope.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(STDERR_FILENO);  // the lowest that is free
    close(next);
    rlimit none = before_;
    none.rlim_cur = next;
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

TEST_F(CrashArenaTest, WithoutDescriptorsItSaysSo) {
  const auto exhausted = StatusIs(absl::StatusCode::kResourceExhausted);
  std::vector<CrashSlotLease> leases;
  for (size_t i = 0; i < CrashArena::kSlotsPerChunk; ++i) {
    leases.push_back(Take());
  }
  const NoDescriptors none;
  EXPECT_THAT(leases[0].MakeTicket().status(), exhausted);
  EXPECT_THAT(CrashArena::Get().Take().status(), exhausted);
}

TEST_F(CrashArenaTest, ForkedChildHasSlotsOfItsOwn) {
  CrashSlotLease lease = Take();
  const CrashSlot* const slot = lease.slot();
  Child child = RunInChild([&]() -> absl::Status {
    CrashArena::Get().Forget();
    lease.GiveBack();  // not this process's any more
    CrashSlotLease own = Take();
    CrashSlot* const page = Map(*own.MakeTicket());
    page->signal = 6;
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(slot->signal, 0u);
  EXPECT_NE(Take().slot(), slot);
}

TEST_F(CrashArenaTest, ForkedChildCannotWriteToOthers) {
  const CrashSlotLease lease = Take();
  Child child = RunInChild([&]() -> absl::Status {
    // mincore(2) fails where nothing is mapped.
    unsigned char resident;
    void* const page = const_cast<CrashSlot*>(lease.slot());
    return mincore(page, kCrashSlotBytes, &resident) != 0
               ? absl::OkStatus()
               : absl::InternalError("the page is there");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// A program may close descriptors that it does not know, and open others.
TEST_F(CrashArenaTest, LeavesAFileAloneThatHasTheNumberOfItsOwnByNow) {
  Child child = RunInChild([]() -> absl::Status {
    CrashArena::Get().Forget();
    Take();
    const Fd file(memfd_create("victim", MFD_CLOEXEC));
    if (ftruncate(file.get(), 1 << 20) != 0) return absl::InternalError("size");
    for (int fd = 3; fd < 100; ++fd) {
      const std::string path = absl::StrCat("/proc/self/fd/", fd);
      char target[100] = {};
      if (readlink(path.c_str(), target, sizeof(target) - 1) > 0 &&
          absl::StrContains(target, "mp-crash-slots")) {
        dup2(file.get(), fd);
      }
    }
    CrashSlotLease lease = Take();
    Map(*lease.MakeTicket())->signal = 6;
    std::string content(1 << 20, '?');
    if (pread(file.get(), content.data(), content.size(), 0) != 1 << 20) {
      return absl::InternalError("cannot read");
    }
    return content == std::string(1 << 20, '\0')
               ? absl::OkStatus()
               : absl::InternalError("the file has been written to");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(CrashArenaTest, LeakedSlotIsNotUsedAgain) {
  // With an arena of its own, since the slot is lost to it.
  Child child = RunInChild([]() -> absl::Status {
    CrashArena::Get().Forget();
    CrashSlotLease lease = Take();
    const CrashSlot* const slot = lease.slot();
    lease.Leak();
    lease = CrashSlotLease();
    return Take().slot() != slot ? absl::OkStatus()
                                 : absl::InternalError("it is");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp::internal
