#include <signal.h>
#include <unistd.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/sync/internal/semaphore_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::IsOk;
using testing::RunInChild;
using testing::StatusIs;
using Kind = SemaphoreCore::Kind;

struct State {
  SemaphoreCoreState core;
  UnitCell cells[2];
};

class SemaphoreCoreDeathTest : public SharedStateTest<State> {
 protected:
  SemaphoreCore Make(Kind kind) {
    return SemaphoreCore(state().core, absl::MakeSpan(state().cells), members(),
                         kind);
  }
  bool SomeoneSleeps() { return (state().core.sleepers.load() & 1) != 0; }

  // Starts a child that waits for a unit and ends with it.
  Child StartWaiter(SemaphoreCore& semaphore) {
    const int64_t waiting = count();
    Child child = RunInChild([&] {
      count() += 1;
      return semaphore.Acquire(absl::InfiniteDuration());
    });
    AwaitCondition([&] { return count() > waiting && SomeoneSleeps(); });
    return child;
  }
};

absl::Status TakeBoth(SemaphoreCore& semaphore) {
  absl::Status taken = semaphore.Acquire(kLongWait);
  return taken.ok() ? semaphore.Acquire(kLongWait) : taken;
}

TEST_F(SemaphoreCoreDeathTest, TheDeadGiveBack) {
  for (Kind kind : {Kind::kGiveBack, Kind::kBounded}) {
    SemaphoreCore semaphore = Make(kind);
    RunAndKill([&] { return TakeBoth(semaphore); });
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(semaphore.Acquire(absl::ZeroDuration()), IsOk());
    }
    EXPECT_EQ(semaphore.Value(), 0u);
    for (int i = 0; i < 2; ++i) EXPECT_THAT(semaphore.Release(), IsOk());
    RunAndKill([&] { return TakeBoth(semaphore); });
    EXPECT_EQ(semaphore.Value(), 2u);
  }
}

TEST_F(SemaphoreCoreDeathTest, ThoseThatWaitGetIt) {
  for (Kind kind : {Kind::kGiveBack, Kind::kBounded}) {
    SemaphoreCore semaphore = Make(kind);
    Child holder = StartAndStay([&] { return TakeBoth(semaphore); });
    std::vector<Child> waiters;
    for (int i = 0; i < 3; ++i) waiters.push_back(StartWaiter(semaphore));
    holder.Kill(SIGKILL);
    // Each of them ends with a unit, so the third has it of another.
    for (Child& waiter : waiters) EXPECT_THAT(waiter.Wait(), ExitedWith(0));
    EXPECT_EQ(semaphore.Value(), 2u);
  }
}

TEST_F(SemaphoreCoreDeathTest, OfAPlainOneOnlyHoldersGiveBack) {
  SemaphoreCore semaphore = Make(Kind::kPlain);
  RunAndKill([&] { return semaphore.Acquire(kLongWait); });
  RunAndKill([&] { return semaphore.AcquireAsHolder(kLongWait); });
  EXPECT_EQ(semaphore.Value(), 1u);
  EXPECT_THAT(semaphore.Acquire(absl::ZeroDuration()), IsOk());
  EXPECT_THAT(semaphore.Acquire(absl::Milliseconds(100)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SemaphoreCoreDeathTest, AStoppedHolderIsNotDead) {
  SemaphoreCore semaphore = Make(Kind::kBounded);
  Child holder = StartAndStay([&] { return TakeBoth(semaphore); });
  holder.Kill(SIGSTOP);
  EXPECT_THAT(semaphore.Acquire(absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SemaphoreCoreDeathTest, OneThatLeavesInOrderGivesBackAsWell) {
  SemaphoreCore semaphore = Make(Kind::kBounded);
  Child holder = RunInChild([&] {
    const absl::Status taken = TakeBoth(semaphore);
    members().Leave();
    return taken;
  });
  EXPECT_THAT(holder.Wait(), ExitedWith(0));
  EXPECT_EQ(semaphore.Value(), 2u);
}

TEST_F(SemaphoreCoreDeathTest, ADeadWaiterHarmsNobody) {
  SemaphoreCore semaphore = Make(Kind::kPlain);
  ASSERT_THAT(TakeBoth(semaphore), IsOk());
  std::vector<Child> doomed;
  for (int i = 0; i < 3; ++i) doomed.push_back(StartWaiter(semaphore));
  Child waiter = StartWaiter(semaphore);
  for (Child& child : doomed) child.Kill(SIGKILL);
  for (Child& child : doomed) child.Wait();
  ASSERT_THAT(semaphore.Release(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
  EXPECT_EQ(semaphore.Value(), 0u);
}

// What is left by one that was killed between its release and the wake.
TEST_F(SemaphoreCoreDeathTest, ALostWakeIsNoticed) {
  SemaphoreCore semaphore = Make(Kind::kPlain);
  ASSERT_THAT(TakeBoth(semaphore), IsOk());
  Child waiter = StartWaiter(semaphore);
  state().cells[1] = 0;
  EXPECT_THAT(waiter.Wait(), ExitedWith(0));
}

// A unit that was given back for its dead holder is not given back twice.
TEST_F(SemaphoreCoreDeathTest, ManyThatLookAtOnceFindEachUnitOnce) {
  SemaphoreCore semaphore = Make(Kind::kBounded);
  RunAndKill([&] { return TakeBoth(semaphore); });
  std::vector<Child> children;
  for (int i = 0; i < 6; ++i) {
    children.push_back(RunInChild([&]() -> absl::Status {
      if (semaphore.Acquire(absl::Milliseconds(20)).ok()) count() += 1;
      count() += 1000;
      while (true) pause();
    }));
  }
  AwaitCondition([&] { return count() >= 6000; });
  EXPECT_EQ(count(), 6002);
}

}  // namespace
}  // namespace mp::internal
