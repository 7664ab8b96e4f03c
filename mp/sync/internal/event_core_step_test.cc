#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/sync/internal/event_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of what it does to an event, and
// others go on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::PtraceAllowed;
using testing::RunInChild;
using testing::StepKiller;

class EventCoreStepTest : public SharedStateTest<EventCoreState> {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    event_.Set();  // see StepKiller on first calls
    event_.Clear();
  }

  absl::Status Set() {
    event_.Set();
    return absl::OkStatus();
  }
  absl::Status Wait() {
    return event_.Wait(kLongWait) ? absl::OkStatus()
                                  : absl::DeadlineExceededError("not set");
  }

  // Starts a child that sleeps until the event is set.
  Child StartSleeper() {
    Child child = RunInChild([&] { return Wait(); });
    AwaitCondition(
        [&] { return (state().word.load() & EventCore::kWaiters) != 0; });
    return child;
  }

  EventCore event_{state()};
};

TEST_F(EventCoreStepTest, OneThatSetsIt) {
  StepKiller killer([] { return absl::OkStatus(); }, [&] { return Set(); });
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
  ASSERT_THAT(points, IsOk());
  int set = 0;
  for (const int64_t at : *points) {
    SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
    event_.Clear();
    Child sleeper = StartSleeper();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    if (event_.IsSet()) ++set;
    // If it was set, nobody else wakes the one that sleeps.
    event_.Set();
    ASSERT_THAT(sleeper.Wait(), ExitedWith(0));
  }
  EXPECT_GT(set, 0);
  EXPECT_LT(set, points->size());
}

TEST_F(EventCoreStepTest, OneThatWaits) {
  StepKiller killer([] { return absl::OkStatus(); }, [&] { return Wait(); },
                    {.on_blocked = [&] { event_.Set(); }});
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
  ASSERT_THAT(points, IsOk());
  for (const int64_t at : *points) {
    SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
    event_.Clear();
    Child sleeper = StartSleeper();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    event_.Set();
    ASSERT_THAT(sleeper.Wait(), ExitedWith(0));
  }
}

}  // namespace
}  // namespace mp::internal
