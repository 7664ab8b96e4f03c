#include "mp/sync/rlock.h"

#include <mutex>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

// The handle. rlock_core_test has what it does.

namespace mp {
namespace {

using internal::AllStartMethods;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::StatusIs;

class RLockTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(RLockTest, AllStartMethods);

TEST_P(RLockTest, IsSharedWithAProcess) {
  RLock lock = *RLock::Create();
  const auto try_it = [](RLock lock) -> absl::Status {
    const absl::Status taken = lock.Acquire(absl::ZeroDuration());
    return taken.ok() ? lock.Release() : taken;
  };
  EXPECT_EQ(Run(try_it, lock), 0);
  ASSERT_THAT(lock.Acquire(), IsOk());
  EXPECT_EQ(Run(try_it, lock), 1);
  EXPECT_EQ(lock.depth(), 1u);
  ASSERT_THAT(lock.Release(), IsOk());
}

TEST(RLockHandleTest, AnEmptyOneSaysSo) {
  const auto is_empty = StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("the handle is empty"));
  RLock lock;
  EXPECT_THAT(lock.Acquire(), is_empty);
  EXPECT_THAT(lock.Release(), is_empty);
  EXPECT_THAT(lock.AcquireAbandoned(), is_empty);
  EXPECT_THAT(lock.MarkRepaired(), is_empty);
  EXPECT_FALSE(lock.Locked());
  EXPECT_EQ(lock.depth(), 0u);
  EXPECT_EQ(lock.owner_pid(), 0);
  EXPECT_EQ(lock.ToString(), "RLock(empty)");
}

TEST(RLockHandleTest, CopiesAreTheSameLock) {
  RLock lock = *RLock::Create();
  RLock copy = lock;
  ASSERT_THAT(lock.Acquire(), IsOk());
  ASSERT_THAT(copy.Acquire(), IsOk());
  EXPECT_EQ(lock.depth(), 2u);
  EXPECT_EQ(lock, copy);
  EXPECT_NE(lock, *RLock::Create());
}

TEST(RLockGuardTest, HoldsItForAScope) {
  RLock lock = *RLock::Create();
  {
    auto outer = RLockGuard::Take(lock);
    std::scoped_lock inner(lock);
    EXPECT_EQ(lock.depth(), 2u);
    EXPECT_TRUE(std::unique_lock(lock, std::try_to_lock).owns_lock());
  }
  EXPECT_FALSE(lock.Locked());
}

TEST(RLockAtTest, LiesInMemoryOfTheProgramsOwn) {
  const Arena arena = *Arena::Default();
  EXPECT_THAT(RLock::At(nullptr, arena),
              StatusIs(absl::StatusCode::kInvalidArgument));
  Slot slot = *Arena(arena).Allocate(sizeof(RLockState));
  auto* const state = static_cast<RLockState*>(slot.data());
  RLock lock = *RLock::At(state, arena);
  ASSERT_THAT(lock.Acquire(), IsOk());
  EXPECT_THAT(RunInChild([&] {
                return RLock::At(state, arena)->Acquire(absl::ZeroDuration());
              }).Wait(),
              ExitedWith(1));
}

}  // namespace
}  // namespace mp
