#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/semaphore_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of what it does to a semaphore, and
// others go on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::PtraceAllowed;
using testing::RunInChild;
using testing::StepKiller;
using Kind = SemaphoreCore::Kind;

struct State {
  SemaphoreCoreState core;
  UnitCell cells[2];
};

class SemaphoreCoreStepTest : public SharedStateTest<State> {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    ASSERT_THAT(TakeAndRelease(bounded_), IsOk());  // see StepKiller
    ASSERT_THAT(TakeAndRelease(plain_), IsOk());
  }

  absl::Status BecomeMember() { return members().Self().status(); }

  static absl::Status TakeAndRelease(SemaphoreCore& semaphore) {
    MP_RETURN_IF_ERROR(semaphore.Acquire(kLongWait));
    return semaphore.Release();
  }

  // Starts a child that sleeps until it gets a unit, and ends with it.
  Child StartSleeper(SemaphoreCore& semaphore) {
    state().core.sleepers = 0;
    Child child = RunInChild([&] { return semaphore.Acquire(kLongWait); });
    AwaitCondition([&] { return (state().core.sleepers.load() & 1) != 0; });
    return child;
  }

  void KillEverywhere(StepKiller& killer, absl::FunctionRef<void()> prepare,
                      absl::FunctionRef<void()> check) {
    prepare();
    const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
    check();
    ASSERT_THAT(points, IsOk());
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      prepare();
      ASSERT_THAT(killer.KillAt(at), IsOk());
      check();
      if (HasFailure()) return;
    }
  }

  SemaphoreCore Make(Kind kind) {
    return SemaphoreCore(state().core, absl::MakeSpan(state().cells), members(),
                         kind);
  }
  SemaphoreCore bounded_ = Make(Kind::kBounded);
  SemaphoreCore plain_ = Make(Kind::kPlain);
};

TEST_F(SemaphoreCoreStepTest, WhatTheDeadHeldComesBack) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeAndRelease(bounded_); });
  KillEverywhere(
      killer, [] {},
      [&] {
        ASSERT_THAT(bounded_.Acquire(kLongWait), IsOk());
        ASSERT_THAT(bounded_.Acquire(kLongWait), IsOk());
        ASSERT_EQ(bounded_.Value(), 0u);
        for (int i = 0; i < 2; ++i) ASSERT_THAT(bounded_.Release(), IsOk());
        ASSERT_EQ(bounded_.Value(), 2u);
      });
}

// The units of the dead are there before, gone, or there again; never more.
TEST_F(SemaphoreCoreStepTest, APlainUnitIsHeldOrNot) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeAndRelease(plain_); });
  int held = 0;
  int kept = 0;
  KillEverywhere(
      killer, [] {},
      [&] {
        const uint32_t value = plain_.Value();
        ASSERT_TRUE(value == 1 || value == 2) << value;
        ++(value == 1 ? held : kept);
        if (value == 1) {
          ASSERT_THAT(plain_.Release(), IsOk());
        }
        ASSERT_EQ(plain_.Value(), 2u);
      });
  EXPECT_GT(held, 0);
  EXPECT_GT(kept, 0);
}

// A process sleeps that needs the unit.
TEST_F(SemaphoreCoreStepTest, AReleasedUnitFindsTheOneThatSleeps) {
  ASSERT_THAT(plain_.Acquire(kLongWait), IsOk());
  ASSERT_THAT(plain_.Acquire(kLongWait), IsOk());
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return plain_.Release(); });
  std::vector<Child> sleeper;
  // Whether the unit was released is seen from what is left when the sleeper
  // has got one, from the dead or from the test.
  KillEverywhere(
      killer, [&] { sleeper.push_back(StartSleeper(plain_)); },
      [&] {
        ASSERT_THAT(plain_.Release(), IsOk());
        EXPECT_THAT(sleeper.back().Wait(), ExitedWith(0));
        sleeper.clear();
        const uint32_t value = plain_.Value();
        ASSERT_LE(value, 1u);
        if (value == 1) {
          ASSERT_THAT(plain_.Acquire(kLongWait), IsOk());
        }
      });
}

// One that sleeps dies as it is woken; the unit is for another that sleeps.
TEST_F(SemaphoreCoreStepTest, TheDeathOfASleeperHarmsNobody) {
  ASSERT_THAT(bounded_.Acquire(kLongWait), IsOk());
  ASSERT_THAT(bounded_.Acquire(kLongWait), IsOk());
  bool is_released = false;
  const auto release = [&] {
    if (!is_released) {
      EXPECT_THAT(bounded_.Release(), IsOk());
    }
    is_released = true;
  };
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeAndRelease(bounded_); },
                    {.on_blocked = release});
  std::vector<Child> sleeper;
  KillEverywhere(
      killer,
      [&] {
        is_released = false;
        sleeper.push_back(StartSleeper(bounded_));
      },
      [&] {
        release();
        EXPECT_THAT(sleeper.back().Wait(), ExitedWith(0));
        sleeper.clear();
        ASSERT_THAT(bounded_.Acquire(kLongWait), IsOk());
        ASSERT_EQ(bounded_.Value(), 0u);
      });
}

}  // namespace
}  // namespace mp::internal
