#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/rlock_core.h"
#include "mp/sync/internal/rw_lock_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/crash_monkey.h"
#include "mp/testing/status_matchers.h"

// Eight processes use a lock without pause, and are killed one after another.

namespace mp::internal {
namespace {

using testing::CrashMonkey;
using testing::IsOk;
using testing::MonkeyMember;

struct State {
  LockWordState lock;
  RLockCoreState rlock;
  RwLockCoreState rw_lock;
  ReaderCell cells[16];
};

class LocksMonkeyTest : public SharedStateTest<State> {
 protected:
  // With the lock held by one that has just taken it.
  absl::Status Use() {
    if (count() != plain_count()) {
      return absl::InternalError("it was given to me with something half done");
    }
    count() += 1;
    plain_count() += 1;
    return absl::OkStatus();
  }
  void Repair() { plain_count() = count(); }

  // One turn with a lock: takes it, and repairs what it guards if need be.
  template <typename Take, typename Drop, typename L>
  absl::Status Turn(L& lock, Take take, Drop drop) {
    const absl::Status taken = take();
    if (absl::IsAborted(taken)) {
      const absl::Status mine = lock.AcquireAbandoned();
      if (absl::IsFailedPrecondition(mine)) return absl::OkStatus();
      MP_RETURN_IF_ERROR(mine);
      Repair();
      MP_RETURN_IF_ERROR(lock.MarkRepaired());
    } else {
      MP_RETURN_IF_ERROR(taken);
    }
    MP_RETURN_IF_ERROR(Use());
    return drop();
  }

  absl::Status ReadTurn(RwLockCore& lock) {
    const absl::Status taken = lock.AcquireRead(kLongWait);
    if (absl::IsAborted(taken)) return absl::OkStatus();
    MP_RETURN_IF_ERROR(taken);
    const bool is_whole = count() == plain_count();
    MP_RETURN_IF_ERROR(lock.ReleaseRead());
    return is_whole ? absl::OkStatus() : absl::InternalError("half a change");
  }
};

TEST_F(LocksMonkeyTest, Lock) {
  LockWord lock(state().lock, members(), "Lock");
  EXPECT_THAT(CrashMonkey({}).Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      MP_RETURN_IF_ERROR(Turn(
          lock, [&] { return lock.Acquire(kLongWait); },
          [&] { return lock.Release(); }));
    }
    return absl::OkStatus();
  }),
              IsOk());
}

TEST_F(LocksMonkeyTest, RLock) {
  RLockCore lock(state().rlock, members(), "RLock");
  const auto take = [&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock.Acquire(kLongWait));
    return lock.Acquire(absl::ZeroDuration());
  };
  // Twice, or once if it was taken to repair.
  const auto drop = [&]() -> absl::Status {
    while (lock.OwnDepth() > 1) MP_RETURN_IF_ERROR(lock.Release());
    return lock.Release();
  };
  EXPECT_THAT(CrashMonkey({}).Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      MP_RETURN_IF_ERROR(Turn(lock, take, drop));
    }
    return absl::OkStatus();
  }),
              IsOk());
}

TEST_F(LocksMonkeyTest, RwLock) {
  RwLockCore lock(state().rw_lock, absl::MakeSpan(state().cells), members());
  EXPECT_THAT(CrashMonkey({}).Run([&](MonkeyMember& me) -> absl::Status {
    for (int i = 0; me.GoesOn(); ++i) {
      MP_RETURN_IF_ERROR(ReadTurn(lock));
      if (i % 4 != me.index() % 4) continue;
      MP_RETURN_IF_ERROR(Turn(
          lock, [&] { return lock.AcquireWrite(kLongWait); },
          [&] { return lock.ReleaseWrite(); }));
    }
    return absl::OkStatus();
  }),
              IsOk());
}

}  // namespace
}  // namespace mp::internal
