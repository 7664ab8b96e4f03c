#include "mp/sync/condition.h"

#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/internal/shared_numbers.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::kLong;
using internal::SharedNumbers;
using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;

void AwaitWaiting(const Condition& condition, int count) {
  while (condition.waiting() != count) absl::SleepFor(absl::Milliseconds(1));
}

absl::Status WaitOnce(Condition condition) {
  MP_ASSIGN_OR_RETURN(ConditionGuard guard, ConditionGuard::Take(condition));
  return condition.Wait(kLong);
}

absl::Status NotifyOnce(Condition condition) {
  MP_ASSIGN_OR_RETURN(ConditionGuard guard, ConditionGuard::Take(condition));
  return condition.Notify();
}

TEST(ConditionTest, EmptyHandleDoesNothing) {
  Condition empty;
  EXPECT_THAT(empty.Acquire(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(empty.Release(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(empty.Wait(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Condition::Wait: the handle is empty")));
  EXPECT_THAT(empty.NotifyAll(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(empty.waiting(), 0);
  EXPECT_EQ(empty.ToString(), "Condition(empty)");
}

TEST(ConditionTest, LockOfNoneIsRefused) {
  Condition condition = *Condition::Create(Lock());
  EXPECT_THAT(condition.Acquire(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(condition.Wait(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(condition.waiting(), 0);
}

TEST(ConditionTest, MaxWaitersHasBounds) {
  for (const int wrong : {0, -1, Condition::kMaxWaiters + 1}) {
    EXPECT_THAT(Condition::Create({.max_waiters = wrong}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("max_waiters is ", wrong))));
  }
  EXPECT_THAT(Condition::Create({.max_waiters = 1}), IsOk());
  EXPECT_THAT(Condition::Create({.max_waiters = Condition::kMaxWaiters}),
              IsOk());
}

TEST(ConditionTest, OneMoreThanMaxWaitersIsRefused) {
  Condition condition = *Condition::Create({.max_waiters = 1});
  std::thread waiter([&] { EXPECT_THAT(WaitOnce(condition), IsOk()); });
  AwaitWaiting(condition, 1);
  EXPECT_THAT(WaitOnce(condition),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("max_waiters is 1")));
  EXPECT_THAT(NotifyOnce(condition), IsOk());
  waiter.join();
}

TEST(ConditionTest, EveryUseNeedsTheLock) {
  Condition condition = *Condition::Create();
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("RLock(free)"));
  EXPECT_THAT(condition.Wait(), refused);
  EXPECT_THAT(condition.WaitFor([] { return true; }), refused);
  EXPECT_THAT(condition.Notify(), refused);
  EXPECT_THAT(condition.NotifyAll(), refused);
  EXPECT_THAT(condition.Release(), refused);
}

TEST(ConditionTest, RLockOfAnotherThreadWillNotDo) {
  Condition condition = *Condition::Create();
  ASSERT_THAT(condition.Acquire(kLong), IsOk());
  std::thread([&] {
    EXPECT_THAT(condition.Wait(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(condition.Notify(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  }).join();
  EXPECT_THAT(condition.Release(), IsOk());
}

TEST(ConditionTest, CountIsNotNegative) {
  Condition condition = *Condition::Create();
  ASSERT_THAT(condition.Acquire(kLong), IsOk());
  EXPECT_THAT(condition.Notify(0), IsOk());
  EXPECT_THAT(condition.Notify(-2), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("count is -2")));
}

TEST(ConditionTest, ReleasesAnRLockAsOftenAsItIsHeldAndTakesItAsOften) {
  RLock lock = *RLock::Create();
  Condition condition = *Condition::Create(lock);
  for (int i = 0; i < 3; ++i) ASSERT_THAT(lock.Acquire(kLong), IsOk());
  std::thread notifier([&] {
    AwaitWaiting(condition, 1);
    EXPECT_THAT(NotifyOnce(condition), IsOk());
  });
  EXPECT_THAT(condition.Wait(kLong), IsOk());
  notifier.join();
  EXPECT_EQ(lock.depth(), 3);
  EXPECT_THAT(condition.Wait(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(lock.depth(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(lock.Release(), IsOk());
  EXPECT_FALSE(lock.Locked());
}

TEST(ConditionTest, RLockIsAsItWasIfAWaitIsRefused) {
  RLock lock = *RLock::Create();
  Condition condition = *Condition::Create(lock, {.max_waiters = 1});
  std::thread waiter([&] { EXPECT_THAT(WaitOnce(condition), IsOk()); });
  AwaitWaiting(condition, 1);
  ASSERT_THAT(lock.Acquire(kLong), IsOk());
  ASSERT_THAT(lock.Acquire(kLong), IsOk());
  EXPECT_THAT(condition.Wait(kLong),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(lock.depth(), 2);
  EXPECT_THAT(condition.Notify(), IsOk());
  EXPECT_THAT(lock.Release(), IsOk());
  EXPECT_THAT(lock.Release(), IsOk());
  waiter.join();
}

TEST(ConditionTest, WaitForLooksFirst) {
  Condition condition = *Condition::Create();
  ConditionGuard guard = *ConditionGuard::Take(condition, kLong);
  int looks = 0;
  EXPECT_THAT(condition.WaitFor([&] { return ++looks == 1; }), IsOk());
  EXPECT_EQ(looks, 1);
  EXPECT_THAT(
      condition.WaitFor([&] { return ++looks == 0; }, absl::Milliseconds(10)),
      StatusIs(absl::StatusCode::kDeadlineExceeded));
  // Once more at the end.
  EXPECT_EQ(looks, 3);
}

TEST(ConditionTest, TwoConditionsOfOneLockAreApart) {
  Lock lock = *Lock::Create();
  Condition one = *Condition::Create(lock);
  Condition other = *Condition::Create(lock);
  EXPECT_FALSE(one == other);
  std::thread waiter([&] { EXPECT_THAT(WaitOnce(one), IsOk()); });
  AwaitWaiting(one, 1);
  EXPECT_THAT(NotifyOnce(other), IsOk());
  EXPECT_EQ(one.waiting(), 1);
  EXPECT_THAT(NotifyOnce(one), IsOk());
  waiter.join();
}

TEST(ConditionTest, SaysWhatItIs) {
  Condition condition = *Condition::Create(*Lock::Create());
  EXPECT_EQ(condition.ToString(), "Condition(Lock(free), 0 waiting)");
  std::thread waiter([&] { EXPECT_THAT(WaitOnce(condition), IsOk()); });
  AwaitWaiting(condition, 1);
  EXPECT_THAT(condition.ToString(), HasSubstr("1 waiting"));
  EXPECT_THAT(NotifyOnce(condition), IsOk());
  waiter.join();
}

TEST(ConditionTest, IsLockable) {
  Condition condition = *Condition::Create();
  {
    std::scoped_lock held(condition);
    EXPECT_THAT(condition.ToString(), HasSubstr("this thread"));
  }
  EXPECT_TRUE(condition.try_lock());
  std::thread([&] { EXPECT_FALSE(condition.try_lock()); }).join();
  condition.unlock();
}

// What a program shares by itself.
struct Placed {
  RLockState lock;
  ConditionStateOf<2> condition;
};

TEST(ConditionTest, LiesWhereItIsPut) {
  Arena arena = *Arena::Create();
  Slot slot = *arena.Allocate(sizeof(Placed));
  auto* const placed = static_cast<Placed*>(slot.data());
  RLock lock = *RLock::At(&placed->lock, arena);
  Condition condition = *Condition::At(&placed->condition, lock, arena);
  Child waiters[] = {RunInChild([&] { return WaitOnce(condition); }),
                     RunInChild([&] { return WaitOnce(condition); })};
  AwaitWaiting(condition, 2);
  EXPECT_THAT(WaitOnce(condition),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("max_waiters is 2")));
  EXPECT_THAT(NotifyOnce(condition), IsOk());
  EXPECT_THAT(NotifyOnce(condition), IsOk());
  for (Child& child : waiters) EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(Condition::At<2>(nullptr, lock, arena),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Who has an id there is not who has it here: the holder has that of the
// waiter.
TEST(ConditionTest, LockMayLieInAnotherArena) {
  Arena locks = *Arena::Create();
  Slot lock_slot = *locks.Allocate(sizeof(Placed));
  auto* const there = static_cast<Placed*>(lock_slot.data());
  RLock lock = *RLock::At(&there->lock, locks);
  Child another = RunInChild([&] { return locks.members().Self().status(); });
  another.Wait();
  Arena conditions = *Arena::Create();
  Slot condition_slot = *conditions.Allocate(sizeof(Placed));
  auto* const here = static_cast<Placed*>(condition_slot.data());
  Condition condition = *Condition::At(&here->condition, lock, conditions);

  Marker is_waiting = *Marker::Create();
  Marker is_taken = *Marker::Create();
  Child holder = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(locks.members().Self().status());
    MP_RETURN_IF_ERROR(is_taken.Signal());
    MP_RETURN_IF_ERROR(is_waiting.Await());
    MP_RETURN_IF_ERROR(lock.Acquire());
    MP_RETURN_IF_ERROR(is_taken.Signal());
    while (true) pause();
  });
  ASSERT_THAT(is_taken.Await(), IsOk());
  Child waiter = RunInChild([&]() -> absl::Status {
    const absl::Status status = WaitOnce(condition);
    return absl::IsAborted(status) ? absl::OkStatus() : status;
  });
  AwaitWaiting(condition, 1);
  ASSERT_THAT(is_waiting.Signal(), IsOk());
  ASSERT_THAT(is_taken.Await(), IsOk());
  ASSERT_EQ(there->lock.core.lock.word & kMemberIdMask,
            here->condition.cells[0].word & kMemberIdMask);
  holder.Kill(SIGKILL);
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

TEST(ConditionTest, HolderThatDiesIsToldOf) {
  RLock lock = *RLock::Create();
  Condition condition = *Condition::Create(lock);
  Child waiter = RunInChild([&]() -> absl::Status {
    ConditionGuard guard = *ConditionGuard::Take(condition);
    MP_RETURN_IF_ERROR(lock.Acquire());
    const absl::Status status = condition.Wait(kLong);
    if (!absl::IsAborted(status)) return absl::InternalError("not told");
    if (lock.depth() != 0) return absl::InternalError("holds it");
    MP_RETURN_IF_ERROR(condition.AcquireAbandoned());
    MP_RETURN_IF_ERROR(condition.MarkRepaired());
    return condition.Release();
  });
  AwaitWaiting(condition, 1);
  Child holder = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(condition.Acquire());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(holder.Wait(), testing::WasKilledBy(SIGKILL));
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
  EXPECT_THAT(condition.Acquire(kLong), IsOk());
}

// Anybody can release a Lock, but one that has lost it should not.
TEST(ConditionTest, GuardThatHasLostTheLockReleasesNone) {
  Lock lock = *Lock::Create();
  Condition condition = *Condition::Create(lock);
  Marker told = *Marker::Create();
  Marker repaired = *Marker::Create();
  Child waiter = RunInChild([&]() -> absl::Status {
    ConditionGuard guard = *ConditionGuard::Take(condition);
    if (!absl::IsAborted(condition.Wait(kLong))) {
      return absl::InternalError("not told");
    }
    MP_RETURN_IF_ERROR(told.Signal());
    return repaired.Await();
  });
  AwaitWaiting(condition, 1);
  Child holder = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock.Acquire());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  holder.Wait();
  ASSERT_THAT(told.Await(), IsOk());
  ASSERT_THAT(lock.AcquireAbandoned(), IsOk());
  ASSERT_THAT(lock.MarkRepaired(), IsOk());
  ASSERT_THAT(repaired.Signal(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
  EXPECT_EQ(lock.owner_pid(), getpid());
}

class ConditionTravelTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ConditionTravelTest, AllStartMethods);

TEST_P(ConditionTravelTest, GoesWithItsLock) {
  Lock lock = *Lock::Create();
  Condition condition = *Condition::Create(lock);
  SharedNumbers numbers;
  const auto wait = [](Condition condition, Lock lock,
                       SharedNumbers numbers) -> absl::Status {
    MP_RETURN_IF_ERROR(lock.Acquire());
    numbers[0] = 1;
    MP_RETURN_IF_ERROR(condition.Wait(kLong));
    numbers[0] = 2;
    return lock.Release();
  };
  Process process(options(), wait, condition, lock, numbers);
  ASSERT_THAT(process.Start(), IsOk());
  AwaitWaiting(condition, 1);
  EXPECT_EQ(numbers[0], 1);
  EXPECT_THAT(NotifyOnce(condition), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(numbers[0], 2);
}

TEST_P(ConditionTravelTest, PlacedOneDoesNotTravelByItself) {
  Arena arena = *Arena::Create();
  Slot slot = *arena.Allocate(sizeof(Placed));
  auto* const placed = static_cast<Placed*>(slot.data());
  Condition condition =
      *Condition::At(&placed->condition, *RLock::Create(), arena);
  Process process(options(), WaitOnce, condition);
  const absl::Status status = process.Start();
  if (is_thread()) {
    GTEST_SKIP() << "a thread shares the memory of its process";
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("Condition: one that was placed")));
}

}  // namespace
}  // namespace mp
