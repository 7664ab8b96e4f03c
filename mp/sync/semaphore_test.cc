#include "mp/sync/semaphore.h"

#include <iostream>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/bounded_semaphore.h"
#include "mp/sync/internal/semaphore_core.h"
#include "mp/sync/internal/semaphore_place.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::AllStartMethods;
using internal::kLong;
using internal::RealStartMethods;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

// Ends the process, as a failed EXPECT in it would be lost.
void Expect(bool condition, int line) {
  if (condition) return;
  std::cerr << "line " << line << " is not true\n";
  Exit(1);
}
#define MP_EXPECT(condition) Expect(condition, __LINE__)

auto IsEmptyHandle() {
  return StatusIs(absl::StatusCode::kFailedPrecondition,
                  HasSubstr("the handle is empty"));
}

class SemaphoreConformanceTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SemaphoreConformanceTest, AllStartMethods);

// CPython's _TestSemaphore._test_semaphore
template <typename S>
void FollowTheValue(S semaphore) {
  MP_EXPECT(semaphore.value() == 2);
  MP_EXPECT(semaphore.Acquire().ok());
  MP_EXPECT(semaphore.value() == 1);
  MP_EXPECT(semaphore.Acquire().ok());
  MP_EXPECT(semaphore.value() == 0);
  MP_EXPECT(semaphore.Locked());
  MP_EXPECT(absl::IsDeadlineExceeded(semaphore.Acquire(absl::ZeroDuration())));
  MP_EXPECT(semaphore.Release().ok());
  MP_EXPECT(semaphore.value() == 1);
  MP_EXPECT(semaphore.Release().ok());
  MP_EXPECT(semaphore.value() == 2);
}

// test_semaphore
TEST_P(SemaphoreConformanceTest, ValueFollowsAcquireAndReleaseWithoutABound) {
  const auto body = [](Semaphore semaphore) {
    FollowTheValue(semaphore);
    MP_EXPECT(semaphore.Release().ok());
    MP_EXPECT(semaphore.value() == 3);
    MP_EXPECT(semaphore.Release().ok());
    MP_EXPECT(semaphore.value() == 4);
  };
  Semaphore semaphore = *Semaphore::Create({.value = 2});
  EXPECT_EQ(Run(body, semaphore), 0);
  EXPECT_EQ(semaphore.value(), 4u);
}

// test_bounded_semaphore
TEST_P(SemaphoreConformanceTest, ABoundedOneFollowsItUpToItsBound) {
  const auto body = [](BoundedSemaphore semaphore) {
    FollowTheValue(semaphore);
    MP_EXPECT(absl::IsFailedPrecondition(semaphore.Release()));
    MP_EXPECT(semaphore.value() == 2);
  };
  EXPECT_EQ(Run(body, *BoundedSemaphore::Create({.value = 2})), 0);
}

class SemaphoreTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SemaphoreTest, AllStartMethods);

TEST_P(SemaphoreTest, AProcessWaitsForASignal) {
  Semaphore there = *Semaphore::Create({.value = 0});
  Semaphore back = *Semaphore::Create({.value = 0});
  const auto answer = [](Semaphore there, Semaphore back) -> absl::Status {
    for (int i = 0; i < 100; ++i) {
      MP_RETURN_IF_ERROR(there.Acquire(kLong));
      MP_RETURN_IF_ERROR(back.Release());
    }
    return absl::OkStatus();
  };
  Process process(options(), answer, there, back);
  ASSERT_THAT(process.Start(), IsOk());
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(there.Release(), IsOk());
    ASSERT_THAT(back.Acquire(kLong), IsOk());
  }
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

class SemaphoreDeathTest : public internal::StartMethodTest {
 protected:
  // Runs a process that leaves a guard behind.
  template <typename Guard, typename S>
  void EndWithAGuard(S semaphore) {
    const auto leave = [](S semaphore) -> absl::Status {
      MP_ASSIGN_OR_RETURN(Guard guard, Guard::Take(semaphore));
      _exit(3);
    };
    EXPECT_EQ(Run(leave, semaphore), 3);
  }
};
MP_INSTANTIATE_TEST_SUITE(SemaphoreDeathTest, RealStartMethods);

TEST_P(SemaphoreDeathTest, TheDeadGiveBackWhatTheirGuardsHeld) {
  Semaphore semaphore = *Semaphore::Create();
  EndWithAGuard<SemaphoreGuard>(semaphore);
  EXPECT_THAT(semaphore.Acquire(kLong), IsOk());
  BoundedSemaphore bounded = *BoundedSemaphore::Create();
  EndWithAGuard<BoundedSemaphoreGuard>(bounded);
  EXPECT_THAT(bounded.Acquire(kLong), IsOk());
}

TEST_P(SemaphoreDeathTest, TheDeadKeepOrGiveBackAsTheOptionsSay) {
  const auto take = [](Semaphore semaphore) {
    if (semaphore.Acquire().ok()) _exit(3);
  };
  Semaphore keep = *Semaphore::Create();
  EXPECT_EQ(Run(take, keep), 3);
  EXPECT_TRUE(keep.Locked());
  Semaphore back =
      *Semaphore::Create({.on_holder_death = OnHolderDeath::kGiveBack});
  EXPECT_EQ(Run(take, back), 3);
  EXPECT_FALSE(back.Locked());
}

TEST(SemaphoreCreateTest, RefusesWhatIsTooMuch) {
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("must not be more than"));
  EXPECT_THAT(Semaphore::Create({.value = uint32_t{1} << 31}), refused);
  EXPECT_THAT(Semaphore::Create({.value = 16'001,
                                 .on_holder_death = OnHolderDeath::kGiveBack}),
              refused);
  EXPECT_THAT(BoundedSemaphore::Create({.value = 16'001}), refused);
}

TEST(SemaphoreCreateTest, MakesLargeOnes) {
  Semaphore semaphore = *Semaphore::Create({.value = INT32_MAX});
  EXPECT_EQ(semaphore.value(), uint32_t{INT32_MAX});
  EXPECT_THAT(semaphore.Release(), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(semaphore.Acquire(), IsOk());
  EXPECT_EQ(semaphore.value(), uint32_t{INT32_MAX} - 1);

  BoundedSemaphore bounded = *BoundedSemaphore::Create({.value = 16'000});
  EXPECT_EQ(bounded.max_value(), 16'000u);
  for (int i = 0; i < 16'000; ++i) ASSERT_THAT(bounded.Acquire(), IsOk());
  EXPECT_TRUE(bounded.Locked());
  for (int i = 0; i < 16'000; ++i) ASSERT_THAT(bounded.Release(), IsOk());
  EXPECT_EQ(bounded.ToString(), "BoundedSemaphore(value 16000 of 16000)");
}

TEST(SemaphoreGuardTest, HoldsAUnitForAScope) {
  Semaphore semaphore = *Semaphore::Create({.value = 2});
  {
    absl::StatusOr<SemaphoreGuard> guard = SemaphoreGuard::Take(semaphore);
    ASSERT_THAT(guard, IsOk());
    std::scoped_lock other(semaphore);
    EXPECT_THAT(SemaphoreGuard::Take(semaphore, absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_FALSE(std::unique_lock(semaphore, std::try_to_lock).owns_lock());
  }
  EXPECT_EQ(semaphore.value(), 2u);
  BoundedSemaphore bounded = *BoundedSemaphore::Create();
  {
    std::scoped_lock both(semaphore, bounded);
    EXPECT_TRUE(bounded.Locked());
    EXPECT_EQ(semaphore.value(), 1u);
  }
  EXPECT_FALSE(bounded.Locked());
}

TEST(SemaphoreHandleTest, AnEmptyOneSaysSo) {
  Semaphore semaphore;
  EXPECT_THAT(semaphore.Acquire(), IsEmptyHandle());
  EXPECT_THAT(semaphore.Release(), IsEmptyHandle());
  EXPECT_THAT(semaphore.AcquireAsHolder(), IsEmptyHandle());
  EXPECT_THAT(semaphore.ReleaseAsHolder(), IsEmptyHandle());
  EXPECT_EQ(semaphore.value(), 0u);
  EXPECT_EQ(semaphore.ToString(), "Semaphore(empty)");
  BoundedSemaphore bounded;
  EXPECT_THAT(bounded.Acquire(), IsEmptyHandle());
  EXPECT_THAT(bounded.Release(), IsEmptyHandle());
  EXPECT_EQ(bounded.max_value(), 0u);
  EXPECT_EQ(bounded.ToString(), "BoundedSemaphore(empty)");
}

TEST(SemaphoreAtTest, LiesInMemoryOfTheProgramsOwn) {
  SemaphoreStateOf<3> state = {};
  const Arena arena = *Arena::Default();
  Semaphore semaphore = *Semaphore::At(&state, arena);
  EXPECT_EQ(semaphore.value(), 3u);
  SemaphoreStateOf<2> other = {};
  BoundedSemaphore bounded = *BoundedSemaphore::At(&other, arena);
  EXPECT_EQ(bounded.max_value(), 2u);
  EXPECT_THAT(bounded.Release(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  SemaphoreStateOf<2>* const none = nullptr;
  EXPECT_THAT(Semaphore::At(none, arena),
              StatusIs(absl::StatusCode::kInvalidArgument));
  Process process([](Semaphore) {}, semaphore);
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("call At() there")));
}

}  // namespace
}  // namespace mp
