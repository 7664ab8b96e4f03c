#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/rlock_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of taking a lock twice and giving it
// back twice, and others go on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::Killed;
using testing::PtraceAllowed;
using testing::StatusIs;
using testing::StepKiller;

class RLockCoreStepTest : public SharedStateTest<RLockCoreState> {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    ASSERT_THAT(TakeTwice(), IsOk());  // see StepKiller on first calls
  }

  absl::Status BecomeMember() { return members().Self().status(); }

  // Changes two counts that are to be the same, under the lock.
  absl::Status TakeTwice() {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    plain_count() += 1;
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    count() += 1;
    MP_RETURN_IF_ERROR(lock_.Release());
    return lock_.Release();
  }

  // After the death of process `dead`: the lock is free and all is whole, or
  // the next one is told, once. Returns which.
  bool ExpectFreeOrTold(pid_t dead) {
    const absl::Status taken = lock_.Acquire(kLongWait);
    if (!taken.ok()) {
      EXPECT_THAT(taken, StatusIs(absl::StatusCode::kAborted,
                                  HasSubstr(absl::StrCat("pid ", dead, " "))));
      EXPECT_THAT(lock_.AcquireAbandoned(), IsOk());
      plain_count() = count();
      EXPECT_THAT(lock_.MarkRepaired(), IsOk());
    }
    EXPECT_EQ(plain_count(), count());
    // What the dead one had taken twice is not for this one to release twice.
    EXPECT_EQ(lock_.OwnDepth(), 1u);
    EXPECT_THAT(lock_.Release(), IsOk());
    EXPECT_THAT(TakeTwice(), IsOk());
    EXPECT_EQ(lock_.OwnDepth(), 0u);
    return taken.ok();
  }

  // Kills at each of the points, with `before` and `after` around it.
  void KillEverywhere(StepKiller& killer, absl::FunctionRef<void()> before,
                      absl::FunctionRef<void()> after) {
    before();
    const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
    ASSERT_THAT(points, IsOk());
    after();
    size_t free = 0;
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      before();
      const absl::StatusOr<Killed> killed = killer.KillAt(at);
      ASSERT_THAT(killed, IsOk());
      after();
      free += ExpectFreeOrTold(killed->pid);
      if (HasFailure()) return;
    }
    EXPECT_GT(free, 0u);
    EXPECT_LT(free, points->size());
  }

  RLockCore lock_{state(), members(), "RLock"};
};

TEST_F(RLockCoreStepTest, UncontendedHolder) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeTwice(); });
  KillEverywhere(
      killer, [] {}, [] {});
}

// It waits until the test, which holds the lock, releases it.
TEST_F(RLockCoreStepTest, ContendedHolder) {
  const auto release = [&] {
    if (lock_.IsOwn()) {
      EXPECT_THAT(lock_.Release(), IsOk());
    }
  };
  StepKiller killer([&] { return BecomeMember(); }, [&] { return TakeTwice(); },
                    {.on_blocked = release});
  KillEverywhere(
      killer, [&] { ASSERT_THAT(lock_.Acquire(kLongWait), IsOk()); }, release);
}

}  // namespace
}  // namespace mp::internal
