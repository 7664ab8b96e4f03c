#include "mp/sync/internal/condition_core.h"

#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/condition_core_test_fixture.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::Scaled;
using testing::StatusIs;

class ConditionCoreTest : public ConditionCoreTestBase {};

TEST_F(ConditionCoreTest, NobodyIsThereToBeNotified) {
  EXPECT_EQ(core().CountWaiting(), 0);
  EXPECT_EQ(Notify(1), 0);
  EXPECT_EQ(Notify(1000), 0);
}

TEST_F(ConditionCoreTest, WaitEndsWithANotification) {
  Child waiter = StartWaiter();
  EXPECT_EQ(Notify(), 1);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kNotified));
  EXPECT_EQ(core().CountWaiting(), 0);
  EXPECT_EQ(Notify(), 0);
}

TEST_F(ConditionCoreTest, NotificationsAreNotStored) {
  Notify();
  EXPECT_THAT(WaitOnce(absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(ConditionCoreTest, WaitEndsAtItsDeadlineWithTheLock) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  const absl::Time start = absl::Now();
  EXPECT_THAT(Wait(absl::Milliseconds(120)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("Condition::Wait")));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(110));
  EXPECT_TRUE(lock_.IsOwn());
  EXPECT_EQ(core().CountWaiting(), 0);
  EXPECT_THAT(Wait(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(lock_.IsOwn());
}

TEST_F(ConditionCoreTest, WaitReleasesTheLockAndHasItAgain) {
  Child waiter = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    MP_RETURN_IF_ERROR(Wait());
    if (!lock_.IsOwn()) return absl::InternalError("the lock is not held");
    return lock_.Release();
  });
  AwaitCondition([&] { return core().CountWaiting() == 1; });
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_EQ(core().Notify(1), 1);
  // It was notified, but does not come back without the lock.
  absl::SleepFor(absl::Milliseconds(120));
  EXPECT_TRUE(lock_.IsOwn());
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

TEST_F(ConditionCoreTest, ThoseWhoHaveWaitedLongestAreNotifiedFirst) {
  std::vector<Child> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(StartWaiter());
  EXPECT_EQ(Notify(2), 2);
  EXPECT_THAT(waiters[0].Wait(), ExitedWith(kNotified));
  EXPECT_THAT(waiters[1].Wait(), ExitedWith(kNotified));
  // It takes the first cell, but is not the first one any more.
  waiters[0] = StartWaiter();
  EXPECT_EQ(Notify(1), 1);
  EXPECT_THAT(waiters[2].Wait(), ExitedWith(kNotified));
  EXPECT_EQ(core().CountWaiting(), 2);
  EXPECT_EQ(Notify(100), 2);
  EXPECT_THAT(waiters[3].Wait(), ExitedWith(kNotified));
  EXPECT_THAT(waiters[0].Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreTest, OneThatIsNotifiedAtItsDeadlineIsNotified) {
  Child waiter = StartWaiter(absl::Milliseconds(50));
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  const int told = core().Notify(1);
  absl::SleepFor(absl::Milliseconds(100));  // It wants the lock by now.
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(told == 1 ? kNotified : kTimedOut));
}

TEST_F(ConditionCoreTest, NoMoreThanMaxWaitersWait) {
  state().condition.max_waiters = 2;
  Child first = StartWaiter();
  Child second = StartWaiter();
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_THAT(Wait(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("2 wait already; max_waiters is 2")));
  EXPECT_TRUE(lock_.IsOwn());
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(Notify(2), 2);
  EXPECT_THAT(first.Wait(), ExitedWith(kNotified));
  EXPECT_THAT(second.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreTest, AsManyAsThereAreCellsWaitUnlessSaidOtherwise) {
  std::vector<Child> waiters;
  for (int i = 0; i < ConditionAndLock::kCells; ++i) {
    waiters.push_back(StartWaiter());
  }
  EXPECT_THAT(WaitOnce(), StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(Notify(1000), ConditionAndLock::kCells);
  for (Child& child : waiters) EXPECT_THAT(child.Wait(), ExitedWith(kNotified));
}

TEST_F(ConditionCoreTest, WaitThatFindsTheLockFreeSaysSo) {
  EXPECT_THAT(Wait(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(core().CountWaiting(), 0);
}

// Signals that come more often than a waiter looks who lives.
TEST_F(ConditionCoreTest, SignalsDoNotEndAWait) {
  signal(SIGALRM, [](int) {});
  Child waiter = RunInChild([&]() -> absl::Status {
    const itimerval often = {.it_interval = {0, 5000}, .it_value = {0, 5000}};
    setitimer(ITIMER_REAL, &often, nullptr);
    _exit(static_cast<int>(WaitOnce(absl::Milliseconds(200)).code()));
  });
  EXPECT_THAT(waiter.Wait(), ExitedWith(kTimedOut));
}

TEST_F(ConditionCoreTest, ThreadsWaitAndNotify) {
  std::vector<std::thread> threads;
  std::atomic<int> notified = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      EXPECT_THAT(WaitOnce(), IsOk());
      ++notified;
    });
  }
  AwaitCondition([&] { return core().CountWaiting() == 8; });
  EXPECT_EQ(Notify(1), 1);
  AwaitCondition([&] { return notified == 1; });
  EXPECT_EQ(Notify(3), 3);
  AwaitCondition([&] { return notified == 4; });
  EXPECT_EQ(Notify(8), 4);
  for (std::thread& thread : threads) thread.join();
}

// Two processes that each wait until the other has been: none of the many
// notifications may get lost.
TEST_F(ConditionCoreTest, PingPong) {
  const int turns = Scaled(20000, 200000);
  const auto play = [&](int64_t side) -> absl::Status {
    for (int i = 0; i < turns; ++i) {
      MP_RETURN_IF_ERROR(Locked([&]() -> absl::Status {
        while (plain_count() % 2 != side) {
          MP_RETURN_IF_ERROR(Wait());
        }
        ++plain_count();
        core().Notify(1);
        return absl::OkStatus();
      }));
    }
    return absl::OkStatus();
  };
  Child other = RunInChild([&] { return play(1); });
  EXPECT_THAT(play(0), IsOk());
  EXPECT_THAT(other.Wait(), ExitedWith(0));
  EXPECT_EQ(plain_count(), 2 * turns);
}

// Units that several make and several take, one notification each.
TEST_F(ConditionCoreTest, AsManyAreTakenAsAreMade) {
  const int units = Scaled(5000, 50000);
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(RunInChild([&]() -> absl::Status {
      for (int n = 0; n < units; ++n) {
        MP_RETURN_IF_ERROR(Locked([&]() -> absl::Status {
          while (plain_count() == 0) {
            MP_RETURN_IF_ERROR(Wait());
          }
          --plain_count();
          return absl::OkStatus();
        }));
      }
      return absl::OkStatus();
    }));
  }
  for (int i = 0; i < 2; ++i) {
    children.push_back(RunInChild([&]() -> absl::Status {
      for (int n = 0; n < 2 * units; ++n) {
        MP_RETURN_IF_ERROR(Locked([&] {
          ++plain_count();
          core().Notify(1);
          return absl::OkStatus();
        }));
      }
      return absl::OkStatus();
    }));
  }
  for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(plain_count(), 0);
  EXPECT_EQ(state().lock.word.load() & LockWord::kOwner, 0u);
}

}  // namespace
}  // namespace mp::internal
