#include "mp/sync/internal/semaphore_core.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
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
using Kind = SemaphoreCore::Kind;

struct State {
  SemaphoreCoreState core;
  UnitCell cells[3];
};

class SemaphoreCoreTest : public SharedStateTest<State> {
 protected:
  SemaphoreCore Make(Kind kind, int cells = 3) {
    return SemaphoreCore(state().core,
                         absl::MakeSpan(state().cells).first(cells), members(),
                         kind);
  }
  bool SomeoneSleeps() { return (state().core.sleepers.load() & 1) != 0; }

  static absl::Status Try(SemaphoreCore& semaphore) {
    return semaphore.Acquire(absl::ZeroDuration());
  }
};

auto TimedOut() { return StatusIs(absl::StatusCode::kDeadlineExceeded); }

TEST_F(SemaphoreCoreTest, HasAsManyUnitsAsCells) {
  for (Kind kind : {Kind::kPlain, Kind::kGiveBack, Kind::kBounded}) {
    SemaphoreCore semaphore = Make(kind);
    for (uint32_t left = 3; left > 0; --left) {
      EXPECT_EQ(semaphore.Value(), left);
      EXPECT_THAT(semaphore.Acquire(kLongWait), IsOk());
    }
    EXPECT_EQ(semaphore.Value(), 0u);
    EXPECT_THAT(Try(semaphore), TimedOut());
    for (int i = 0; i < 3; ++i) EXPECT_THAT(semaphore.Release(), IsOk());
    EXPECT_EQ(semaphore.Value(), 3u);
  }
}

TEST_F(SemaphoreCoreTest, APlainOneMayHaveMore) {
  for (Kind kind : {Kind::kPlain, Kind::kGiveBack}) {
    SemaphoreCore semaphore = Make(kind);
    for (int i = 0; i < 2; ++i) EXPECT_THAT(semaphore.Release(), IsOk());
    EXPECT_EQ(semaphore.Value(), 5u);
    for (int i = 0; i < 5; ++i) EXPECT_THAT(Try(semaphore), IsOk());
    EXPECT_THAT(Try(semaphore), TimedOut());
    for (int i = 0; i < 3; ++i) EXPECT_THAT(semaphore.Release(), IsOk());
    EXPECT_EQ(semaphore.Value(), 3u);
    state().core.spare = 0;
    for (UnitCell& cell : state().cells) cell = 0;
  }
}

TEST_F(SemaphoreCoreTest, ABoundedOneRefusesTooManyReleases) {
  SemaphoreCore semaphore = Make(Kind::kBounded);
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("all 3 units"));
  EXPECT_THAT(semaphore.Release(), refused);
  ASSERT_THAT(semaphore.Acquire(kLongWait), IsOk());
  EXPECT_THAT(semaphore.Release(), IsOk());
  EXPECT_THAT(semaphore.Release(), refused);
  EXPECT_EQ(semaphore.Value(), 3u);
}

TEST_F(SemaphoreCoreTest, MayHaveNoneAtFirst) {
  SemaphoreCore plain = Make(Kind::kPlain, 0);
  EXPECT_THAT(Try(plain), TimedOut());
  EXPECT_THAT(plain.Release(), IsOk());
  EXPECT_EQ(plain.ToString(), "Semaphore(value 1)");
  EXPECT_THAT(Try(plain), IsOk());
  SemaphoreCore bounded = Make(Kind::kBounded, 0);
  EXPECT_THAT(Try(bounded), TimedOut());
  EXPECT_THAT(bounded.Release(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(bounded.ToString(), "BoundedSemaphore(value 0 of 0)");
}

TEST_F(SemaphoreCoreTest, HasALimit) {
  SemaphoreCore semaphore = Make(Kind::kPlain);
  state().core.spare = SemaphoreCore::kMaxValue - 4;
  EXPECT_THAT(semaphore.Release(), IsOk());
  EXPECT_THAT(semaphore.Release(),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("2147483647")));
}

TEST_F(SemaphoreCoreTest, AnotherProcessMayRelease) {
  for (Kind kind : {Kind::kPlain, Kind::kGiveBack, Kind::kBounded}) {
    SemaphoreCore semaphore = Make(kind);
    ASSERT_THAT(semaphore.Acquire(kLongWait), IsOk());
    EXPECT_THAT(RunInChild([&] { return semaphore.Release(); }).Wait(),
                ExitedWith(0));
    EXPECT_EQ(semaphore.Value(), 3u);
  }
}

TEST_F(SemaphoreCoreTest, AReleaseOfAPlainOneLeavesThoseThatHoldAUnit) {
  SemaphoreCore semaphore = Make(Kind::kPlain);
  ASSERT_THAT(semaphore.AcquireAsHolder(kLongWait), IsOk());
  ASSERT_THAT(semaphore.Release(), IsOk());
  EXPECT_EQ(semaphore.Value(), 3u);
  ASSERT_THAT(semaphore.ReleaseAsHolder(), IsOk());
  EXPECT_EQ(semaphore.Value(), 4u);
}

TEST_F(SemaphoreCoreTest, HoldersMayTakeUnitsFromNowhere) {
  SemaphoreCore semaphore = Make(Kind::kPlain, 1);
  ASSERT_THAT(semaphore.Release(), IsOk());
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(semaphore.AcquireAsHolder(kLongWait), IsOk());
  }
  EXPECT_THAT(Try(semaphore), TimedOut());
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(semaphore.ReleaseAsHolder(), IsOk());
  }
  EXPECT_EQ(semaphore.Value(), 2u);
}

TEST_F(SemaphoreCoreTest, AWaitIsLongEnough) {
  SemaphoreCore semaphore = Make(Kind::kPlain, 0);
  const absl::Time start = absl::Now();
  EXPECT_THAT(semaphore.Acquire(absl::Milliseconds(120)), TimedOut());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(120));
}

TEST_F(SemaphoreCoreTest, EachReleaseLetsOneGo) {
  SemaphoreCore semaphore = Make(Kind::kPlain, 0);
  std::vector<Child> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(RunInChild([&] {
      const absl::Status taken = semaphore.Acquire(kLongWait);
      count() += 1;
      return taken;
    }));
  }
  for (int i = 1; i <= 3; ++i) {
    AwaitCondition([&] { return SomeoneSleeps(); });
    ASSERT_THAT(semaphore.Release(), IsOk());
    AwaitCondition([&] { return count() >= i; });
    absl::SleepFor(absl::Milliseconds(10));
    EXPECT_EQ(count(), i);
  }
  for (Child& waiter : waiters) EXPECT_THAT(waiter.Wait(), ExitedWith(0));
  EXPECT_EQ(semaphore.Value(), 0u);
}

// A hint that points nowhere, as by one who writes what he should not.
TEST_F(SemaphoreCoreTest, DoesNotBelieveAHint) {
  SemaphoreCore semaphore = Make(Kind::kBounded);
  state().core.hint = UINT32_MAX;
  EXPECT_THAT(semaphore.Acquire(kLongWait), IsOk());
  state().core.hint = 3;
  EXPECT_THAT(semaphore.Release(), IsOk());
  EXPECT_EQ(semaphore.Value(), 3u);
}

// Processes and threads that take turns.
TEST_F(SemaphoreCoreTest, NeverMoreThanItsUnitsAreTaken) {
  const int turns = Scaled(5'000, 50'000);
  for (Kind kind : {Kind::kPlain, Kind::kGiveBack, Kind::kBounded}) {
    SemaphoreCore semaphore = Make(kind, 2);
    const auto take_turns = [&]() -> absl::Status {
      for (int i = 0; i < turns; ++i) {
        MP_RETURN_IF_ERROR(semaphore.Acquire(kLongWait));
        if (++count() > 2) return absl::InternalError("too many have a unit");
        --count();
        MP_RETURN_IF_ERROR(semaphore.Release());
      }
      return absl::OkStatus();
    };
    std::vector<Child> children;
    for (int i = 0; i < 2; ++i) {
      children.push_back(RunInChild([&] {
        std::thread other([&] { MP_CHECK_OK(take_turns()); });
        const absl::Status status = take_turns();
        other.join();
        return status;
      }));
    }
    EXPECT_THAT(take_turns(), IsOk());
    for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
    EXPECT_EQ(semaphore.Value(), 2u);
  }
}

// Releases come as fast as they can; none is lost.
TEST_F(SemaphoreCoreTest, CountsSignals) {
  const int signals = Scaled(20'000, 200'000);
  SemaphoreCore semaphore = Make(Kind::kPlain, 0);
  std::vector<Child> consumers;
  for (int i = 0; i < 2; ++i) {
    consumers.push_back(RunInChild([&]() -> absl::Status {
      for (int i = 0; i < signals / 2; ++i) {
        MP_RETURN_IF_ERROR(semaphore.Acquire(kLongWait));
      }
      return absl::OkStatus();
    }));
  }
  for (int i = 0; i < signals / 2 * 2; ++i) {
    ASSERT_THAT(semaphore.Release(), IsOk());
  }
  for (Child& child : consumers) EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(semaphore.Value(), 0u);
}

}  // namespace
}  // namespace mp::internal
