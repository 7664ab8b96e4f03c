#include <signal.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/barrier_core.h"
#include "mp/sync/internal/barrier_core_test_fixture.h"
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

class BarrierCoreDeathTest : public BarrierCoreTestBase {
 protected:
  absl::Status Wait(absl::Duration timeout = kLongWait) {
    return barrier_.Wait(std::nullopt, timeout).status();
  }
  absl::Status WaitTwice() {
    MP_RETURN_IF_ERROR(Wait());
    return Wait();
  }

  Child StartParty(absl::FunctionRef<absl::Status()> body) {
    return StartPartyOf(barrier_, body);
  }

  BarrierCore barrier_ = Make();
};

MATCHER_P(IsBrokenBy, pid, "is kAborted because of that pid") {
  return ::testing::ExplainMatchResult(
      StatusIs(absl::StatusCode::kAborted,
               HasSubstr(absl::StrCat("pid ", pid, " ended"))),
      arg, result_listener);
}

TEST_F(BarrierCoreDeathTest, OneThatDiesAsItWaitsBreaksIt) {
  Child doomed = StartParty([&] { return Wait(); });
  Child other = StartParty([&] { return Wait(); });
  doomed.Kill(SIGKILL);
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_THAT(Wait(), IsBrokenBy(doomed.pid()));
}

TEST_F(BarrierCoreDeathTest, OneThatWasThereAndDiesOnItsWayBreaksIt) {
  Child doomed = StartParty([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Wait());
    while (true) pause();
  });
  Child other = StartParty([&] { return WaitTwice(); });
  ASSERT_THAT(Wait(), IsOk());
  AwaitCondition([&] { return barrier_.Waiting() == 1; });
  doomed.Kill(SIGKILL);
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_THAT(Wait(), IsBrokenBy(doomed.pid()));
}

// Nobody is left who looks, but the one that comes.
TEST_F(BarrierCoreDeathTest, OneThatComesWhenAllHaveDiedIsTold) {
  const auto die = [] {
    raise(SIGKILL);
    return absl::OkStatus();
  };
  Child one = StartParty([&] { return Wait(); });
  Child two = StartParty([&] { return Wait(); });
  one.Kill(SIGSTOP);
  two.Kill(SIGSTOP);
  Child last = RunInChild([&] {
    return barrier_.Wait(BarrierCore::Action(die), kLongWait).status();
  });
  EXPECT_THAT(last.Wait(), WasKilledBy(SIGKILL));
  one.Kill(SIGKILL);
  two.Kill(SIGKILL);
  one.Wait();
  two.Wait();
  EXPECT_THAT(Wait(absl::InfiniteDuration()),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("ended")));
}

// No place is free but that of the dead.
TEST_F(BarrierCoreDeathTest, ANewOneNoticesTheDeadWhosePlaceItWouldTake) {
  Child doomed = StartParty([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Wait());
    while (true) pause();
  });
  Child other = StartParty([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Wait());
    while (true) pause();
  });
  ASSERT_THAT(Wait(), IsOk());
  AwaitCondition([&] {
    for (PartyCell& cell : state().cells) {
      if ((cell.load() & 3) == 1) return false;  // not left yet
    }
    return true;
  });
  doomed.Kill(SIGKILL);
  doomed.Wait();
  other.Kill(SIGSTOP);
  Child stranger = RunInChild([&]() -> absl::Status {
    Wait().IgnoreError();  // takes a place or finds it broken
    return absl::OkStatus();
  });
  EXPECT_THAT(Wait(), IsBrokenBy(doomed.pid()));
  EXPECT_THAT(stranger.Wait(), ExitedWith(0));
}

TEST_F(BarrierCoreDeathTest, OneThatDiesInTheActionBreaksIt) {
  Child first = StartParty([&] { return Wait(); });
  Child second = StartParty([&] { return Wait(); });
  Child last = RunInChild([&]() -> absl::Status {
    return barrier_
        .Wait(
            []() -> absl::Status {
              raise(SIGKILL);
              return absl::OkStatus();
            },
            kLongWait)
        .status();
  });
  EXPECT_THAT(first.Wait(), ExitedWith(kTold));
  EXPECT_THAT(second.Wait(), ExitedWith(kTold));
  EXPECT_THAT(Wait(), IsBrokenBy(last.pid()));
}

// If the last one comes before anybody looks who lives, the round is whole: all
// have come to it. The next one is not.
TEST_F(BarrierCoreDeathTest, SeveralMayDieAtOnce) {
  Child doomed[] = {StartParty([&] { return Wait(); }),
                    StartParty([&] { return Wait(); })};
  for (Child& child : doomed) child.Kill(SIGKILL);
  for (Child& child : doomed) child.Wait();
  EXPECT_THAT(WaitTwice(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(BarrierCoreDeathTest, IsAsNewAfterAReset) {
  Child doomed = StartParty([&] { return Wait(); });
  doomed.Kill(SIGKILL);
  doomed.Wait();
  ASSERT_THAT(Wait(), StatusIs(absl::StatusCode::kAborted));
  for (int i = 0; i < 3; ++i) {
    barrier_.Reset();
    Child first = StartParty([&] { return Wait(); });
    Child second = StartParty([&] { return Wait(); });
    ASSERT_THAT(Wait(), IsOk());
    EXPECT_THAT(first.Wait(), ExitedWith(kGone));
    EXPECT_THAT(second.Wait(), ExitedWith(kGone));
  }
}

// Those that look at it now and then do so several times.
TEST_F(BarrierCoreDeathTest, AStoppedPartyIsNotDead) {
  Child stopped = StartParty([&] { return Wait(); });
  Child other = StartParty([&] { return Wait(); });
  stopped.Kill(SIGSTOP);
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_FALSE(barrier_.IsBroken());
  ASSERT_THAT(Wait(), IsOk());
  EXPECT_THAT(other.Wait(), ExitedWith(kGone));
  stopped.Kill(SIGCONT);
  EXPECT_THAT(stopped.Wait(), ExitedWith(kGone));
}

// What is left by one that was killed between its store and the wake.
TEST_F(BarrierCoreDeathTest, ALostWakeIsNoticed) {
  Child first = StartParty([&] { return Wait(absl::InfiniteDuration()); });
  Child second = StartParty([&] { return Wait(absl::InfiniteDuration()); });
  AwaitCondition([&] { return (state().core.word & 1) != 0; });
  state().core.word.store(1 << 8);
  EXPECT_THAT(first.Wait(), ExitedWith(kGone));
  EXPECT_THAT(second.Wait(), ExitedWith(kGone));
}

}  // namespace
}  // namespace mp::internal
