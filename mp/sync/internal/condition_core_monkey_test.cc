#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/crash_monkey.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using testing::CrashMonkey;
using testing::IsOk;
using testing::MonkeyMember;

constexpr int kProcesses = 8;
constexpr int kRoom = 2;

struct Waiters {
  ConditionState state;
  ConditionCell cells[kProcesses + 2];
};

// A place for a few things that some processes make and others take.
struct Store {
  LockWordState lock;
  Waiters takers;
  Waiters makers;
  int things;
  bool is_closed;
  std::atomic<int> inside;  // how many hold the lock
};

// Processes that wait for each other, one notification for each thing made or
// taken, while they are killed.
class ConditionCoreMonkeyTest : public SharedStateTest<Store> {
 protected:
  ConditionCore Core(Waiters& waiters) {
    return ConditionCore(waiters.state, absl::MakeSpan(waiters.cells),
                         members(), lock_, members());
  }

  absl::Status CheckAlone() {
    const int others = state().inside.exchange(1);
    if (others == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(others, " others hold the lock"));
  }

  // What the dead one has taken or made it may not have told of.
  absl::Status Repair() {
    state().inside = 0;
    Core(state().takers).Notify(kProcesses);
    Core(state().makers).Notify(kProcesses);
    return lock_.MarkRepaired();
  }

  absl::Status Enter() {
    absl::Status status = lock_.Acquire(absl::InfiniteDuration());
    while (absl::IsAborted(status)) {
      if (lock_.AcquireAbandoned().ok()) {
        status = Repair();
      } else {
        status = lock_.Acquire(absl::InfiniteDuration());
      }
    }
    MP_RETURN_IF_ERROR(status);
    return CheckAlone();
  }
  absl::Status Leave() {
    state().inside = 0;
    return lock_.Release();
  }

  absl::Status Wait(Waiters& waiters) {
    state().inside = 0;
    ReleasedLockWord lock(lock_);
    const absl::Status status =
        Core(waiters).Wait(lock, Deadline(absl::InfiniteDuration()));
    if (absl::IsAborted(status)) return Enter();
    MP_RETURN_IF_ERROR(status);
    return CheckAlone();
  }

  absl::Status Make() {
    MP_RETURN_IF_ERROR(Enter());
    while (state().things == kRoom && !state().is_closed) {
      MP_RETURN_IF_ERROR(Wait(state().makers));
    }
    if (!state().is_closed) ++state().things;
    Core(state().takers).Notify(1);
    return Leave();
  }
  absl::Status Take() {
    MP_RETURN_IF_ERROR(Enter());
    while (state().things == 0 && !state().is_closed) {
      MP_RETURN_IF_ERROR(Wait(state().takers));
    }
    if (!state().is_closed) --state().things;
    Core(state().makers).Notify(1);
    return Leave();
  }
  absl::Status Close() {
    MP_RETURN_IF_ERROR(Enter());
    state().is_closed = true;
    Core(state().takers).Notify(kProcesses);
    Core(state().makers).Notify(kProcesses);
    return Leave();
  }

  LockWord lock_{state().lock, members(), "Lock"};
};

TEST_F(ConditionCoreMonkeyTest, NoNotificationIsLostWithTheDead) {
  CrashMonkey monkey({.processes = kProcesses});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      MP_RETURN_IF_ERROR(me.index() % 2 == 0 ? Make() : Take());
    }
    return Close();
  }),
              IsOk());
  EXPECT_EQ(Core(state().takers).CountWaiting(), 0);
  EXPECT_EQ(Core(state().makers).CountWaiting(), 0);
}

}  // namespace
}  // namespace mp::internal
