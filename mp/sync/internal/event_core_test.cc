#include "mp/sync/internal/event_core.h"

#include <signal.h>

#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::RunInChild;
using testing::Scaled;

class EventCoreTest : public SharedStateTest<EventCoreState> {
 protected:
  bool SomeoneSleeps() {
    return (state().word.load() & EventCore::kWaiters) != 0;
  }

  // Starts a child that exits with 0 if the event was set in time.
  Child StartWaiter(absl::Duration timeout = kLongWait) {
    Child child = RunInChild([&, this] {
      count() += 1;
      return event_.Wait(timeout) ? absl::OkStatus()
                                  : absl::DeadlineExceededError("not set");
    });
    return child;
  }

  EventCore event_{state()};
};

TEST_F(EventCoreTest, IsSetUntilItIsCleared) {
  EXPECT_FALSE(event_.IsSet());
  EXPECT_FALSE(event_.Wait(absl::ZeroDuration()));
  EXPECT_FALSE(event_.Wait(-absl::InfiniteDuration()));
  event_.Set();
  event_.Set();
  EXPECT_TRUE(event_.IsSet());
  EXPECT_TRUE(event_.Wait(absl::ZeroDuration()));
  EXPECT_TRUE(event_.Wait(absl::InfiniteDuration()));
  event_.Clear();
  event_.Clear();
  EXPECT_FALSE(event_.IsSet());
}

TEST_F(EventCoreTest, AWaitIsLongEnough) {
  const absl::Time start = absl::Now();
  EXPECT_FALSE(event_.Wait(absl::Milliseconds(120)));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(120));
}

TEST_F(EventCoreTest, WakesAllThatWait) {
  std::vector<Child> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(StartWaiter());
  AwaitCondition([&] { return count() == 4 && SomeoneSleeps(); });
  event_.Set();
  for (Child& waiter : waiters) EXPECT_THAT(waiter.Wait(), ExitedWith(0));
  EXPECT_FALSE(SomeoneSleeps());
}

// The waiter may look only long after the event is cleared.
TEST_F(EventCoreTest, OneThatWaitsDoesNotMissASetThatIsClearedAtOnce) {
  Child waiter = StartWaiter();
  AwaitCondition([&] { return SomeoneSleeps(); });
  waiter.Kill(SIGSTOP);
  event_.Set();
  event_.Clear();
  waiter.Kill(SIGCONT);
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

// What is left by one that was killed between its store and the wake.
TEST_F(EventCoreTest, ALostWakeIsNoticed) {
  Child waiter = StartWaiter(absl::InfiniteDuration());
  AwaitCondition([&] { return SomeoneSleeps(); });
  state().word.store(EventCore::kOneTime | EventCore::kSet);
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

TEST_F(EventCoreTest, ADeadWaiterHarmsNobody) {
  Child doomed = StartWaiter();
  Child waiter = StartWaiter();
  AwaitCondition([&] { return count() == 2 && SomeoneSleeps(); });
  doomed.Kill(SIGKILL);
  doomed.Wait();
  event_.Set();
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

// Two processes let each other go on, by an event and its opposite.
TEST_F(EventCoreTest, CarriesAStoreFromOneThreadToAnother) {
  const int turns = Scaled(2'000, 20'000);
  EventCoreState back = {};
  EventCore answer(back);
  std::thread peer([&] {
    for (int i = 0; i < turns; ++i) {
      ASSERT_TRUE(event_.Wait(kLongWait));
      event_.Clear();
      plain_count() += 1;
      answer.Set();
    }
  });
  for (int i = 0; i < turns; ++i) {
    EXPECT_EQ(plain_count(), i);
    event_.Set();
    ASSERT_TRUE(answer.Wait(kLongWait));
    answer.Clear();
  }
  peer.join();
}

}  // namespace
}  // namespace mp::internal
