// One program that shares a struct of its own with all that mp/sync has in it,
// and of which several processes are killed at once.

#include <signal.h>
#include <unistd.h>

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/sync/barrier.h"
#include "mp/sync/bounded_semaphore.h"
#include "mp/sync/condition.h"
#include "mp/sync/event.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/sync/rw_lock.h"
#include "mp/sync/semaphore.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;
using testing::WasKilledBy;

constexpr absl::Duration kLong = absl::Seconds(60);

// The program's own, zero at first.
struct Workshop {
  LockState ledger_lock;
  int ledger_entries;
  int ledger_sum;  // as many
  RLockState shelf_lock;
  ConditionStateOf<8> shelf_changed;
  int shelf;
  SemaphoreStateOf<3> tools;
  SemaphoreStateOf<2> seats;
  BarrierStateOf<3> shift;
  RwLockStateOf<8> plan;
  EventState opened;
};

class SyncSurvivesTest : public ::testing::Test {
 protected:
  // Starts one that does something, and then stays as it is.
  void StartVictim(absl::FunctionRef<absl::Status()> body) {
    victims_.push_back(RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(body());
      MP_RETURN_IF_ERROR(ready_.Signal());
      while (true) pause();
    }));
    ASSERT_THAT(ready_.Await(kLong), IsOk());
  }

  // Starts one that will wait; `body` says what the end of that is to be.
  void StartVictimThatWaits(absl::FunctionRef<void()> body) {
    victims_.push_back(RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(ready_.Signal());
      body();
      return absl::InternalError("it has not waited");
    }));
    ASSERT_THAT(ready_.Await(kLong), IsOk());
  }

  // Starts one that lives, and is to be answered so.
  void StartSurvivor(absl::StatusCode answer,
                     absl::FunctionRef<absl::Status()> body) {
    survivors_.push_back(RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(ready_.Signal());
      const absl::Status status = body();
      return status.code() == answer ? absl::OkStatus() : status;
    }));
    ASSERT_THAT(ready_.Await(kLong), IsOk());
  }

  // All at once, as far as that can be.
  void KillVictims() {
    for (Child& victim : victims_) victim.Kill(SIGSTOP);
    for (Child& victim : victims_) victim.Kill(SIGKILL);
    for (Child& victim : victims_) {
      EXPECT_THAT(victim.Wait(), WasKilledBy(SIGKILL));
    }
    victims_.clear();
  }

  void AwaitSurvivors() {
    for (Child& survivor : survivors_) {
      EXPECT_THAT(survivor.Wait(), ExitedWith(0));
    }
    survivors_.clear();
  }

  // Each of several processes does everything once, in the same order.
  void UseAll() {
    for (int i = 0; i < 3; ++i) {
      StartSurvivor(absl::StatusCode::kOk, [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(shift_.Wait(kLong).status());
        MP_RETURN_IF_ERROR(AddToLedger());
        MP_RETURN_IF_ERROR(tools_.Acquire(kLong));
        MP_RETURN_IF_ERROR(seats_.Acquire(kLong));
        MP_RETURN_IF_ERROR(PutOnShelf());
        MP_RETURN_IF_ERROR(TakeFromShelf());
        MP_RETURN_IF_ERROR(seats_.Release());
        MP_RETURN_IF_ERROR(tools_.Release());
        return shift_.Wait(kLong).status();
      });
    }
    AwaitSurvivors();
  }

  absl::Status AddToLedger() {
    MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(ledger_lock_, kLong));
    ++place_->ledger_entries;
    ++place_->ledger_sum;
    return guard.Release();
  }
  absl::Status PutOnShelf() {
    MP_ASSIGN_OR_RETURN(auto guard,
                        ConditionGuard::Take(shelf_changed_, kLong));
    ++place_->shelf;
    return shelf_changed_.Notify();
  }
  absl::Status TakeFromShelf() {
    MP_ASSIGN_OR_RETURN(auto guard,
                        ConditionGuard::Take(shelf_changed_, kLong));
    MP_RETURN_IF_ERROR(
        shelf_changed_.WaitFor([&] { return place_->shelf > 0; }, kLong));
    --place_->shelf;
    return absl::OkStatus();
  }

  void AwaitWaiting(int count) {
    while (shelf_changed_.waiting() != count) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  testing::LeakCheck leak_check_;
  Arena arena_ = *Arena::Create();
  Slot slot_ = *arena_.Allocate(sizeof(Workshop));
  Workshop* const place_ = static_cast<Workshop*>(slot_.data());
  Lock ledger_lock_ = *Lock::At(&place_->ledger_lock, arena_);
  RLock shelf_lock_ = *RLock::At(&place_->shelf_lock, arena_);
  Condition shelf_changed_ =
      *Condition::At(&place_->shelf_changed, shelf_lock_, arena_);
  BoundedSemaphore tools_ = *BoundedSemaphore::At(&place_->tools, arena_);
  Semaphore seats_ = *Semaphore::At(&place_->seats, arena_);
  Barrier shift_ = *Barrier::At(&place_->shift, arena_);
  RwLock plan_ = *RwLock::At(&place_->plan, arena_);
  Event opened_ = *Event::At(&place_->opened, arena_);
  Marker ready_ = *Marker::Create();

 private:
  std::vector<Child> victims_;
  std::vector<Child> survivors_;
};

TEST_F(SyncSurvivesTest, AllIsInOrderWithoutDeaths) {
  UseAll();
  EXPECT_EQ(place_->ledger_entries, 3);
  EXPECT_EQ(place_->shelf, 0);
}

TEST_F(SyncSurvivesTest, SeveralDeathsAtOnce) {
  // One has begun an entry of the ledger.
  StartVictim([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(ledger_lock_.Acquire(kLong));
    ++place_->ledger_entries;
    return absl::OkStatus();
  });
  // One waits for the ledger, with two tools.
  StartVictim([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(tools_.Acquire(kLong));
    return tools_.Acquire(kLong);
  });
  // One has the third tool, and wants to write in the ledger.
  StartVictimThatWaits([&] {
    tools_.Acquire(kLong).IgnoreError();
    ledger_lock_.Acquire(kLong).IgnoreError();
  });
  // One reads the plan.
  StartVictim([&] { return plan_.AcquireRead(kLong); });
  // One waits at the shelf, and one for the others of its shift.
  StartVictimThatWaits([&] { TakeFromShelf().IgnoreError(); });
  AwaitWaiting(1);
  StartVictimThatWaits([&] { shift_.Wait(kLong).IgnoreError(); });
  while (shift_.waiting() != 1) absl::SleepFor(absl::Milliseconds(1));

  // Others wait for the same.
  StartSurvivor(absl::StatusCode::kAborted,
                [&] { return ledger_lock_.Acquire(kLong); });
  StartSurvivor(absl::StatusCode::kOk, [&] { return TakeFromShelf(); });
  AwaitWaiting(2);
  StartSurvivor(absl::StatusCode::kAborted,
                [&] { return shift_.Wait(kLong).status(); });
  StartSurvivor(absl::StatusCode::kOk, [&]() -> absl::Status {
    for (int i = 0; i < 3; ++i) MP_RETURN_IF_ERROR(tools_.Acquire(kLong));
    return absl::OkStatus();
  });
  StartSurvivor(absl::StatusCode::kOk, [&]() -> absl::Status {
    MP_RETURN_IF_ERROR(plan_.AcquireWrite(kLong));
    return plan_.ReleaseWrite();
  });
  StartSurvivor(absl::StatusCode::kOk, [&] { return opened_.Wait(kLong); });

  KillVictims();
  ASSERT_THAT(PutOnShelf(), IsOk());
  ASSERT_THAT(opened_.Set(), IsOk());
  AwaitSurvivors();

  // The one entry that was half done is made whole.
  EXPECT_THAT(AddToLedger(), StatusIs(absl::StatusCode::kAborted));
  ASSERT_THAT(ledger_lock_.AcquireAbandoned(), IsOk());
  EXPECT_EQ(place_->ledger_entries, 1);
  EXPECT_EQ(place_->ledger_sum, 0);
  place_->ledger_entries = place_->ledger_sum;
  ASSERT_THAT(ledger_lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(ledger_lock_.Release(), IsOk());
  ASSERT_THAT(shift_.Reset(), IsOk());

  UseAll();
  EXPECT_EQ(place_->ledger_entries, 3);
  EXPECT_EQ(place_->ledger_sum, 3);
  EXPECT_EQ(place_->shelf, 0);
}

// Those that repair are killed as well.
TEST_F(SyncSurvivesTest, DeathsAmongThoseWhoRepair) {
  for (int i = 0; i < 3; ++i) {
    StartVictim([&]() -> absl::Status {
      const absl::Status status = ledger_lock_.Acquire(kLong);
      if (absl::IsAborted(status)) return ledger_lock_.AcquireAbandoned();
      return status;
    });
    StartVictim([&]() -> absl::Status {
      const absl::Status status = shelf_changed_.Acquire(kLong);
      if (absl::IsAborted(status)) return shelf_changed_.AcquireAbandoned();
      return status;
    });
    StartSurvivor(absl::StatusCode::kAborted, [&] { return AddToLedger(); });
    StartSurvivor(absl::StatusCode::kAborted, [&] { return PutOnShelf(); });
    KillVictims();
    AwaitSurvivors();
  }
  ASSERT_THAT(ledger_lock_.AcquireAbandoned(), IsOk());
  ASSERT_THAT(ledger_lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(ledger_lock_.Release(), IsOk());
  ASSERT_THAT(shelf_changed_.AcquireAbandoned(), IsOk());
  ASSERT_THAT(shelf_changed_.MarkRepaired(), IsOk());
  ASSERT_THAT(shelf_changed_.Release(), IsOk());
  UseAll();
}

}  // namespace
}  // namespace mp
