#include "mp/sync/internal/barrier_core.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/barrier_core_test_fixture.h"
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
using testing::IsOkAndHolds;
using testing::RunInChild;
using testing::Scaled;
using testing::StatusIs;

class BarrierCoreTest : public BarrierCoreTestBase {
 protected:
  static absl::StatusOr<int> Wait(BarrierCore& barrier,
                                  absl::Duration timeout = kLongWait) {
    return barrier.Wait(std::nullopt, timeout);
  }

  Child StartParty(BarrierCore& barrier) {
    return StartPartyOf(barrier, [&] { return Wait(barrier).status(); });
  }
};

auto IsBroken(const char* why) {
  return StatusIs(absl::StatusCode::kAborted, HasSubstr(why));
}

TEST_F(BarrierCoreTest, OnePartyDoesNotWait) {
  BarrierCore barrier = Make(1);
  for (int i = 0; i < 100; ++i) EXPECT_THAT(Wait(barrier), IsOkAndHolds(0));
  EXPECT_EQ(barrier.Waiting(), 0);
  EXPECT_EQ(barrier.ToString(), "Barrier(0 of 1 waiting)");
}

TEST_F(BarrierCoreTest, TheLastOneLetsAllGo) {
  BarrierCore barrier = Make(3);
  Child first = StartParty(barrier);
  EXPECT_EQ(barrier.Waiting(), 1);
  Child second = StartParty(barrier);
  EXPECT_EQ(barrier.ToString(), "Barrier(2 of 3 waiting)");
  EXPECT_THAT(Wait(barrier), IsOk());
  EXPECT_THAT(first.Wait(), ExitedWith(kGone));
  EXPECT_THAT(second.Wait(), ExitedWith(kGone));
  EXPECT_EQ(barrier.Waiting(), 0);
}

TEST_F(BarrierCoreTest, NobodyIsAheadByMoreThanARound) {
  const int rounds = Scaled(3'000, 30'000);
  BarrierCore barrier = Make(3);
  const auto go_on = [&]() -> absl::Status {
    for (int i = 0; i < rounds; ++i) {
      if (count() < 3 * i) return absl::InternalError("one is not there yet");
      count() += 1;
      MP_RETURN_IF_ERROR(Wait(barrier).status());
    }
    members().Leave();
    return absl::OkStatus();
  };
  Child first = RunInChild(go_on);
  Child second = RunInChild(go_on);
  for (int i = 0; i < rounds; ++i) {
    ASSERT_GE(count(), 3 * i);
    count() += 1;
    ASSERT_THAT(Wait(barrier), IsOk());
  }
  EXPECT_THAT(first.Wait(), ExitedWith(0));
  EXPECT_THAT(second.Wait(), ExitedWith(0));
}

// More threads than parties: who gets in is open, but all rounds are whole.
TEST_F(BarrierCoreTest, IsOfUseAgainAfterAnActionThatThrew) {
  BarrierCore barrier = Make(1);
  const auto action = []() -> absl::Status { throw 7; };
  EXPECT_THROW(barrier.Wait(action, kLongWait).IgnoreError(), int);
  EXPECT_THAT(Wait(barrier), StatusIs(absl::StatusCode::kAborted));
  barrier.Reset();
  EXPECT_THAT(Wait(barrier), IsOkAndHolds(0));
}

TEST_F(BarrierCoreTest, ThreadsAreParties) {
  const int rounds = Scaled(500, 5'000);
  BarrierCore barrier = Make(3);
  std::atomic<int> indices[3] = {};
  // Of all threads together, or the last ones would be too few for a round.
  std::atomic<int> waits{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      while (waits.fetch_add(1) < 6 * rounds) {
        const absl::StatusOr<int> at = Wait(barrier);
        ASSERT_THAT(at, IsOk());
        ++indices[*at];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::atomic<int>& index : indices) EXPECT_EQ(index, 2 * rounds);
}

TEST_F(BarrierCoreTest, OneRunsTheActionBeforeAnyGoesOn) {
  const int rounds = Scaled(500, 5'000);
  BarrierCore barrier = Make(2);
  const auto action = [&] {
    plain_count() += 1;
    return absl::OkStatus();
  };
  Child other = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < rounds; ++i) {
      MP_RETURN_IF_ERROR(barrier.Wait(action, kLongWait).status());
    }
    members().Leave();
    return absl::OkStatus();
  });
  for (int i = 0; i < rounds; ++i) {
    ASSERT_THAT(barrier.Wait(action, kLongWait), IsOk());
    // The other is not in the next round's action, as this one is not there.
    ASSERT_EQ(plain_count(), i + 1);
  }
  EXPECT_THAT(other.Wait(), ExitedWith(0));
}

TEST_F(BarrierCoreTest, AFailedActionBreaksIt) {
  BarrierCore barrier = Make(2);
  Child other = StartParty(barrier);
  EXPECT_THAT(barrier.Wait([] { return absl::DataLossError("no"); }, kLongWait),
              StatusIs(absl::StatusCode::kDataLoss, "no"));
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_TRUE(barrier.IsBroken());
  EXPECT_THAT(Wait(barrier), IsBroken("the action failed"));
}

TEST_F(BarrierCoreTest, ATimeoutBreaksIt) {
  BarrierCore barrier = Make(3);
  Child other = StartParty(barrier);
  EXPECT_THAT(Wait(barrier, absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_THAT(Wait(barrier), IsBroken("waited until its deadline"));
  EXPECT_EQ(barrier.ToString(), "Barrier(broken)");
}

TEST_F(BarrierCoreTest, AnAbortBreaksItUntilAReset) {
  BarrierCore barrier = Make(2);
  Child other = StartParty(barrier);
  barrier.Abort();
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_THAT(Wait(barrier), IsBroken("Abort() was called"));
  barrier.Reset();
  EXPECT_FALSE(barrier.IsBroken());
  Child again = StartParty(barrier);
  EXPECT_THAT(Wait(barrier), IsOk());
  EXPECT_THAT(again.Wait(), ExitedWith(kGone));
}

TEST_F(BarrierCoreTest, AResetSendsAwayThoseThatWait) {
  BarrierCore barrier = Make(2);
  Child other = StartParty(barrier);
  barrier.Reset();
  EXPECT_THAT(other.Wait(), ExitedWith(kTold));
  EXPECT_FALSE(barrier.IsBroken());
  EXPECT_EQ(barrier.Waiting(), 0);
  Child again = StartParty(barrier);
  EXPECT_THAT(Wait(barrier), IsOk());
  EXPECT_THAT(again.Wait(), ExitedWith(kGone));
}

// One that is slow to leave is told of its round, not of the next.
TEST_F(BarrierCoreTest, AResetDoesNotChangeWhatHasBeen) {
  BarrierCore barrier = Make(2);
  Child other = StartParty(barrier);
  AwaitCondition([&] { return (state().core.word & 1) != 0; });
  other.Kill(SIGSTOP);
  EXPECT_THAT(Wait(barrier), IsOk());
  barrier.Reset();
  barrier.Abort();
  barrier.Reset();
  other.Kill(SIGCONT);
  EXPECT_THAT(other.Wait(), ExitedWith(kGone));
}

TEST_F(BarrierCoreTest, NoRoundEndsBeforeAllHaveLeftTheLast) {
  BarrierCore barrier = Make(2);
  Child slow = StartParty(barrier);
  AwaitCondition([&] { return (state().core.word & 1) != 0; });
  slow.Kill(SIGSTOP);
  EXPECT_THAT(Wait(barrier), IsOk());
  Child early = StartParty(barrier);
  EXPECT_THAT(Wait(barrier, absl::Milliseconds(100)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("others had all places")));
  EXPECT_FALSE(barrier.IsBroken());
  slow.Kill(SIGCONT);
  EXPECT_THAT(slow.Wait(), ExitedWith(kGone));
  EXPECT_THAT(Wait(barrier), IsOk());
  EXPECT_THAT(early.Wait(), ExitedWith(kGone));
}

TEST_F(BarrierCoreTest, OthersMayComeInThePlaceOfThoseThatEndedInOrder) {
  BarrierCore barrier = Make(2);
  for (int i = 0; i < 10; ++i) {
    Child other = StartParty(barrier);
    ASSERT_THAT(Wait(barrier), IsOk()) << i;
    ASSERT_THAT(other.Wait(), ExitedWith(kGone)) << i;
  }
}

}  // namespace
}  // namespace mp::internal
