#include <signal.h>
#include <sys/wait.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/condition_core_test_fixture.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::StatusIs;
using testing::WasKilledBy;

class ConditionCoreDeathTest : public ConditionCoreTestBase {
 protected:
  static void Stop(Child& child) {
    child.Kill(SIGSTOP);
    int status;
    EXPECT_EQ(waitpid(child.pid(), &status, WUNTRACED), child.pid());
  }

  static void KillAndWait(Child& child) {
    child.Kill(SIGKILL);
    EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  }

  // A waiter that is notified and cannot do anything about it.
  Child StartNotified() {
    Child waiter = StartWaiter();
    Stop(waiter);
    EXPECT_EQ(Notify(1), 1);
    return waiter;
  }
};

TEST_F(ConditionCoreDeathTest, NoNotificationIsForTheDead) {
  Child dead = StartWaiter();
  Child waiter = StartWaiter();
  KillAndWait(dead);
  EXPECT_EQ(Notify(1), 1);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreDeathTest, AllAreNotifiedAmongTheDeadAndTheStopped) {
  std::vector<Child> waiters;
  for (int i = 0; i < 6; ++i) waiters.push_back(StartWaiter());
  KillAndWait(waiters[0]);
  Stop(waiters[1]);
  KillAndWait(waiters[4]);
  EXPECT_EQ(Notify(100), 4);
  for (const int i : {2, 3, 5}) {
    EXPECT_THAT(waiters[i].Wait(), ExitedWith(kNotified));
  }
  waiters[1].Kill(SIGCONT);
  EXPECT_THAT(waiters[1].Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreDeathTest, NotificationOfADeadGoesToOneThatWaitedThen) {
  Child notified = StartWaiter();
  Child waiter = StartWaiter();
  Stop(notified);
  EXPECT_EQ(Notify(1), 1);
  KillAndWait(notified);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
  EXPECT_EQ(core().CountWaiting(), 0);
}

TEST_F(ConditionCoreDeathTest, ButToOneOfThemOnly) {
  Child notified = StartWaiter();
  Child waiters[] = {StartWaiter(), StartWaiter()};
  Stop(notified);
  EXPECT_EQ(Notify(1), 1);
  KillAndWait(notified);
  AwaitCondition([&] { return core().CountWaiting() == 1; });
  EXPECT_EQ(Notify(1), 1);
  for (Child& child : waiters) EXPECT_THAT(child.Wait(), ExitedWith(kNotified));
  EXPECT_EQ(Notify(1), 0);
}

TEST_F(ConditionCoreDeathTest, AndNotToOneThatCameLater) {
  Child notified = StartNotified();
  Child later = StartWaiter(absl::Milliseconds(300));
  KillAndWait(notified);
  EXPECT_THAT(later.Wait(), ExitedWith(kTimedOut));
}

TEST_F(ConditionCoreDeathTest, TwoNotificationsGoToThoseThatWaitedThen) {
  Child early = StartWaiter();
  Child first = StartWaiter();
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Stop(early);
  Stop(first);
  // Of these only the first one is also for the oldest of the living.
  EXPECT_EQ(core().Notify(1), 1);
  ASSERT_THAT(lock_.Release(), IsOk());
  Child late = StartWaiter();
  EXPECT_EQ(Notify(1), 1);
  Child latest = StartWaiter(absl::Milliseconds(300));
  EXPECT_EQ(core().CountWaiting(), 2);
  KillAndWait(first);
  EXPECT_THAT(late.Wait(), ExitedWith(kNotified));
  KillAndWait(early);
  EXPECT_THAT(latest.Wait(), ExitedWith(kTimedOut));
}

// The other one is for one that came in between, and to whom it is of no use.
TEST_F(ConditionCoreDeathTest, OfTwoNotificationsTheOlderIsTaken) {
  Child dead[] = {StartWaiter(), StartWaiter()};
  Child early = StartWaiter();
  for (Child* child : {&dead[0], &dead[1], &early}) Stop(*child);
  EXPECT_EQ(Notify(1), 1);
  Child between = StartWaiter();
  Stop(between);
  EXPECT_EQ(Notify(1), 1);
  for (Child& child : dead) KillAndWait(child);
  early.Kill(SIGCONT);
  EXPECT_THAT(early.Wait(), ExitedWith(kNotified));
  between.Kill(SIGCONT);
  EXPECT_THAT(between.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreDeathTest, WaitersAreToldThatAHolderDied) {
  std::vector<Child> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(StartWaiter());
  RunAndKill([&] { return lock_.Acquire(kLongWait); });
  for (Child& child : waiters) {
    EXPECT_THAT(child.Wait(), ExitedWith(kToldOfDeath));
  }
  EXPECT_EQ(core().CountWaiting(), 0);
}

// The one that died may have been about to notify, and the one that repaired
// need not know of those that wait.
TEST_F(ConditionCoreDeathTest, WaitersAreToldOfADeathThatIsRepairedAtOnce) {
  Child waiters[] = {StartWaiter(), StartWaiter()};
  for (Child& child : waiters) Stop(child);  // It comes too late to see it.
  const pid_t dead = RunAndKill([&] { return lock_.Acquire(kLongWait); });
  ASSERT_THAT(
      lock_.Acquire(kLongWait),
      StatusIs(absl::StatusCode::kAborted, HasSubstr(absl::StrCat(dead))));
  ASSERT_THAT(lock_.AcquireAbandoned(), IsOk());
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  for (Child& child : waiters) {
    child.Kill(SIGCONT);
    EXPECT_THAT(child.Wait(), ExitedWith(kToldOfDeath));
  }
  // Those that come later are not.
  EXPECT_THAT(WaitOnce(absl::Milliseconds(60)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(lock_.Release(), IsOk());
}

TEST_F(ConditionCoreDeathTest, AStoppedHolderIsNotDead) {
  Child waiter = StartWaiter();
  Child holder = StartAndStay([&] { return lock_.Acquire(kLongWait); });
  Stop(holder);
  absl::SleepFor(absl::Milliseconds(150));
  EXPECT_EQ(core().CountWaiting(), 1);
  KillAndWait(holder);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kToldOfDeath));
}

TEST_F(ConditionCoreDeathTest, DeathOfAHolderThatNobodyMindsEndsNoWait) {
  state().lock.on_owner_death = OnOwnerDeath::kIgnore;
  Child waiter = StartWaiter();
  RunAndKill([&] { return lock_.Acquire(kLongWait); });
  // A waiter has seen to the lock.
  AwaitCondition([&] { return !lock_.IsTaken(); });
  EXPECT_EQ(core().CountWaiting(), 1);
  EXPECT_EQ(Notify(1), 1);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreDeathTest, OneThatIsKilledWhenItHasNotifiedIsTold) {
  Child waiters[] = {StartWaiter(), StartWaiter()};
  RunAndKill([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    core().Notify(1);
    return absl::OkStatus();
  });
  for (Child& child : waiters) {
    EXPECT_THAT(child.Wait(), ExitedWith(kToldOfDeath));
  }
}

TEST_F(ConditionCoreDeathTest, NotificationThatCouldNotBeTakenGoesOn) {
  Child told = StartWaiter();
  Child waiter = StartWaiter();
  Stop(waiter);
  RunAndKill([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    core().Notify(1);
    return absl::OkStatus();
  });
  EXPECT_THAT(told.Wait(), ExitedWith(kToldOfDeath));
  ASSERT_THAT(lock_.AcquireAbandoned(), IsOk());
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  waiter.Kill(SIGCONT);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreDeathTest, CellsOfTheDeadAreUsedAgain) {
  state().condition.max_waiters = 3;
  for (int i = 0; i < 4; ++i) {
    Child waiting[] = {StartWaiter(), StartWaiter()};
    for (Child& child : waiting) KillAndWait(child);
    Child notified = StartNotified();
    KillAndWait(notified);
    EXPECT_THAT(WaitOnce(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    ASSERT_THAT(lock_.Release(), IsOk());
  }
}

// A dead one's cell is not used again as long as it says something.
TEST_F(ConditionCoreDeathTest, NotificationIsKeptForAStoppedOne) {
  state().condition.max_waiters = 2;
  Child notified = StartWaiter();
  Child waiter = StartWaiter();
  Stop(waiter);
  Stop(notified);
  EXPECT_EQ(Notify(1), 1);
  KillAndWait(notified);
  EXPECT_THAT(WaitOnce(), StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_THAT(lock_.Release(), IsOk());
  waiter.Kill(SIGCONT);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
}

}  // namespace
}  // namespace mp::internal
