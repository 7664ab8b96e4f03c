#include <unistd.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/barrier_core.h"
#include "mp/sync/internal/barrier_core_test_fixture.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A party is killed at each instruction of its wait, and the other is told or
// goes on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using ::testing::AnyOf;
using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::PtraceAllowed;
using testing::RunInChild;
using testing::StatusIs;
using testing::StepKiller;

class BarrierCoreStepTest : public BarrierCoreTestBase {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    ExpectAsNew();  // see StepKiller on first calls
  }

  absl::Status Wait() {
    return barrier_.Wait(std::nullopt, kLongWait).status();
  }
  absl::Status WaitWithAction() {
    return barrier_
        .Wait(
            [&] {
              plain_count() += 1;
              return absl::OkStatus();
            },
            kLongWait)
        .status();
  }

  // Starts a child that is in a round with the one that will be killed, and in
  // the next one as soon as `count` is not 0; it exits with the code of that.
  Child StartPeer() {
    return RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(Wait());
      AwaitCondition([&] { return count() != 0; });
      const absl::Status status = Wait();
      members().Leave();
      _exit(static_cast<int>(status.code()));
    });
  }

  void ExpectAsNew() {
    barrier_.Reset();
    Child other = RunInChild([&]() -> absl::Status {
      const absl::Status status = Wait();
      members().Leave();
      return status;
    });
    EXPECT_THAT(Wait(), IsOk());
    EXPECT_THAT(other.Wait(), ExitedWith(0));
  }

  // Returns how often the other party was told, of how many times.
  void KillEverywhere(StepKiller& killer, int64_t peer_comes_first) {
    std::optional<Child> peer;
    const auto prepare = [&] {
      barrier_.Reset();
      count() = peer_comes_first;
      peer.emplace(StartPeer());
    };
    prepare();
    const absl::StatusOr<std::vector<int64_t>> points =
        CountWith(killer, *peer);
    ASSERT_THAT(points, IsOk());
    int told = 0;
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      prepare();
      ASSERT_THAT(killer.KillAt(at), IsOk());
      count() = 1;
      const testing::ExitStatus end = peer->Wait();
      ASSERT_THAT(end, AnyOf(ExitedWith(kGone), ExitedWith(kTold)));
      told += end.code == kTold;
      // In the next round at the latest the dead one is missed.
      ASSERT_THAT(Wait(), StatusIs(absl::StatusCode::kAborted));
      ExpectAsNew();
      if (HasFailure()) return;
    }
    EXPECT_GT(told, 0);
    EXPECT_LT(told, points->size());
  }

  absl::StatusOr<std::vector<int64_t>> CountWith(StepKiller& killer,
                                                 Child& peer) {
    absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
    EXPECT_THAT(peer.Wait(), ExitedWith(kGone));
    return points;
  }

  BarrierCore barrier_ = Make(2);
};

TEST_F(BarrierCoreStepTest, TheLastOneToCome) {
  StepKiller killer(
      [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(Wait());
        AwaitCondition([&] { return barrier_.Waiting() == 1; });
        return absl::OkStatus();
      },
      [&] { return Wait(); });
  KillEverywhere(killer, /*peer_comes_first=*/1);
}

TEST_F(BarrierCoreStepTest, TheLastOneToComeWithAnAction) {
  StepKiller killer(
      [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(Wait());
        AwaitCondition([&] { return barrier_.Waiting() == 1; });
        return absl::OkStatus();
      },
      [&] { return WaitWithAction(); });
  KillEverywhere(killer, /*peer_comes_first=*/1);
}

TEST_F(BarrierCoreStepTest, TheFirstOneToCome) {
  StepKiller killer([&] { return Wait(); }, [&] { return Wait(); },
                    {.on_blocked = [&] { count() = 1; }});
  KillEverywhere(killer, /*peer_comes_first=*/0);
}

}  // namespace
}  // namespace mp::internal
