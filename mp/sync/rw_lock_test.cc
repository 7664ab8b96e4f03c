#include "mp/sync/rw_lock.h"

#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/internal/placed.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

// The handle. rw_lock_core_test has what it does.

namespace mp {
namespace {

using internal::AllStartMethods;
using internal::kLong;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

// What writers change together, in a struct of a program's own.
struct Pair {
  RwLockStateOf<8> lock;
  int64_t first;
  int64_t second;
};
using SharedPair = internal::Placed<Pair>;

class RwLockTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(RwLockTest, AllStartMethods);

absl::Status TryToRead(RwLock lock) {
  MP_ASSIGN_OR_RETURN(ReadGuard guard,
                      ReadGuard::Take(lock, absl::ZeroDuration()));
  return absl::OkStatus();
}

absl::Status TryToWrite(RwLock lock) {
  MP_ASSIGN_OR_RETURN(WriteGuard guard,
                      WriteGuard::Take(lock, absl::ZeroDuration()));
  return absl::OkStatus();
}

TEST_P(RwLockTest, IsSharedWithAProcess) {
  RwLock lock = *RwLock::Create();
  ASSERT_THAT(lock.AcquireRead(), IsOk());
  EXPECT_EQ(Run(TryToRead, lock), 0);
  EXPECT_EQ(Run(TryToWrite, lock), 1);
  ASSERT_THAT(lock.ReleaseRead(), IsOk());
  ASSERT_THAT(lock.AcquireWrite(), IsOk());
  EXPECT_EQ(Run(TryToRead, lock), 1);
  ASSERT_THAT(lock.ReleaseWrite(), IsOk());
  EXPECT_EQ(Run(TryToWrite, lock), 0);
}

TEST_P(RwLockTest, ReadersNeverSeeHalfAChange) {
  const auto work = [](SharedPair pair, int writes, int times) -> absl::Status {
    MP_ASSIGN_OR_RETURN(RwLock lock, RwLock::At(&pair->lock, pair.arena()));
    for (int i = 0; i < times; ++i) {
      if (i < writes) {
        MP_ASSIGN_OR_RETURN(WriteGuard guard, WriteGuard::Take(lock, kLong));
        pair->first += 1;
        pair->second += 1;
      }
      MP_ASSIGN_OR_RETURN(ReadGuard guard, ReadGuard::Take(lock, kLong));
      if (pair->first != pair->second) return absl::InternalError("half");
    }
    return absl::OkStatus();
  };
  SharedPair pair = *SharedPair::Create();
  const int times = testing::Scaled(2000, 20000);
  std::vector<Process> processes;
  for (int i = 0; i < 4; ++i) {
    processes.emplace_back(options(), work, pair, times / 4, times);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  for (Process& process : processes) {
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(pair->first, 4 * (times / 4));
}

TEST(RwLockHandleTest, AnEmptyOneSaysSo) {
  const auto is_empty = StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("the handle is empty"));
  RwLock lock;
  EXPECT_THAT(lock.AcquireRead(), is_empty);
  EXPECT_THAT(lock.ReleaseRead(), is_empty);
  EXPECT_THAT(lock.AcquireWrite(), is_empty);
  EXPECT_THAT(lock.ReleaseWrite(), is_empty);
  EXPECT_THAT(lock.AcquireAbandoned(), is_empty);
  EXPECT_THAT(lock.MarkRepaired(), is_empty);
  EXPECT_EQ(lock.readers(), 0u);
  EXPECT_FALSE(lock.LockedForWriting());
  EXPECT_EQ(lock.ToString(), "RwLock(empty)");
}

TEST(RwLockCreateTest, HasAsManyReadersAsAskedFor) {
  EXPECT_THAT(RwLock::Create({.max_readers = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(RwLock::Create({.max_readers = 4097}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  for (const uint32_t readers : {1, 3, 4096}) {
    RwLock lock = *RwLock::Create({.max_readers = readers});
    for (uint32_t i = 0; i < readers; ++i) {
      ASSERT_THAT(lock.AcquireRead(), IsOk());
    }
    EXPECT_EQ(lock.readers(), readers);
    EXPECT_THAT(lock.AcquireRead(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
}

TEST(RwLockAtTest, RefusesWhatIsNoState) {
  RwLockStateOf<4>* none = nullptr;
  EXPECT_THAT(RwLock::At(none, *Arena::Default()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(RwLockStdTest, WorksWithTheStandardGuards) {
  RwLock lock = *RwLock::Create();
  {
    std::shared_lock reads(lock);
    EXPECT_TRUE(std::shared_lock(lock, std::try_to_lock).owns_lock());
    EXPECT_FALSE(std::unique_lock(lock, std::try_to_lock).owns_lock());
  }
  std::scoped_lock writes(lock);
  EXPECT_TRUE(lock.LockedForWriting());
  EXPECT_FALSE(std::shared_lock(lock, std::try_to_lock).owns_lock());
}

}  // namespace
}  // namespace mp
