// A thousand tasks with a time limit, of which every tenth sleeps for ever.
//
// That a task is in time is nothing that a test can promise on a machine that
// has other things to do. So those that ought to succeed have a limit that is
// long, or, where all have the same short one, the test asks only that each is
// accounted for, and truly.

#include <unistd.h>

#include <cstddef>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/current_task.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/internal/test_notes.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::internal::TestNotes;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kShort = absl::Milliseconds(50);

bool SleepsForEver(int item) { return item % 10 == 0; }

int Negative(int item) { return -item; }

int SleepForEverAtTens(int item) {
  TestNotes::Mine().Begin(item);
  while (SleepsForEver(item)) absl::SleepFor(absl::Seconds(1));
  TestNotes::Mine().End(item);
  return -item;
}

// Gives up when it is told to.
int HeedAtTens(int item) {
  while (SleepsForEver(item) && !TaskIsInterrupted()) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  return -item;
}

class PoolDeadlineTest : public PoolTestFixture {
 protected:
  PoolDeadlineTest() : PoolTestFixture(/*processes=*/4, kLong) {}

  static TaskOptions LimitOf(int item) {
    return {.time_limit = SleepsForEver(item) ? kShort : kLong,
            .grace = absl::Milliseconds(1)};
  }

  static void ExpectUsable(Pool& pool) {
    const auto results = pool.Map(Negative, std::vector<int>(100, 1));
    ASSERT_THAT(results, IsOk());
    EXPECT_EQ(*results, std::vector<int>(100, -1));
  }

  const int count_ = Scaled(1000, 1000);
  const std::vector<int> items_ = Numbers(count_);
};

class PoolDeadlineDeathTest : public PoolDeadlineTest {};

MP_INSTANTIATE_TEST_SUITE(PoolDeadlineTest, AllStartMethods);
MP_INSTANTIATE_TEST_SUITE(PoolDeadlineDeathTest, RealStartMethods);

TEST_P(PoolDeadlineDeathTest, LateOnesAreReportedAndAllOthersRight) {
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  std::vector<Future<int>> futures;
  for (const int item : items_) {
    futures.push_back(
        pool->ApplyAsync(LimitOf(item), SleepForEverAtTens, item));
  }
  for (const int item : items_) {
    const auto& future = futures[item];
    if (SleepsForEver(item)) {
      EXPECT_THAT(future.Get(kLong),
                  StatusIs(absl::StatusCode::kDeadlineExceeded,
                           HasSubstr("limit of 50ms")));
      EXPECT_EQ(notes->ended(item), 0) << item;
    } else {
      EXPECT_THAT(future.Get(kLong), IsOkAndHolds(-item));
    }
    EXPECT_EQ(notes->begun(item), 1) << item;
  }
  ExpectUsable(*pool);
}

// In chunks, what comes after a late one in its chunk runs elsewhere.
TEST_P(PoolDeadlineDeathTest, WithOneShortLimitEachIsAccountedForOnce) {
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  const auto results = pool->MapEach(
      SleepForEverAtTens, items_,
      {.chunk_size = 25, .time_limit = kShort, .grace = absl::Milliseconds(1)});
  ASSERT_EQ(results.size(), items_.size());
  for (const int item : items_) {
    const auto& result = results[item];
    if (result.ok()) {
      EXPECT_FALSE(SleepsForEver(item));
      EXPECT_EQ(*result, -item);
      EXPECT_EQ(notes->ended(item), 1);
    } else {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kDeadlineExceeded));
    }
    // A good one may be killed before it has noted anything, if all is slow.
    EXPECT_LE(notes->begun(item), 1) << item;
  }
  ExpectUsable(*pool);
}

TEST_P(PoolDeadlineDeathTest, StreamsReportLateOnesInTheirPlaces) {
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  const std::vector<int> some(items_.begin(), items_.begin() + 100);
  auto stream = pool->Imap(SleepForEverAtTens, some,
                           {.chunk_size = 3,
                            .time_limit = absl::Seconds(1),
                            .grace = absl::Milliseconds(1)});
  for (const int item : some) {
    const auto result = stream.Next(kLong);
    ASSERT_TRUE(result.has_value());
    if (SleepsForEver(item)) {
      EXPECT_THAT(*result, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                    HasSubstr("limit of 1s")));
    } else if (result->ok()) {
      EXPECT_EQ(**result, -item);
    } else {
      EXPECT_THAT(*result, StatusIs(absl::StatusCode::kDeadlineExceeded));
    }
  }
  EXPECT_FALSE(stream.Next(kLong).has_value());
  ExpectUsable(*pool);
}

// A late one that heeds its warning costs no worker, not even a thread.
TEST_P(PoolDeadlineTest, LateOnesThatGiveUpCostNoWorker) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::vector<pid_t> before = pool->pids();
  std::vector<Future<int>> futures;
  for (const int item : items_) {
    TaskOptions options = LimitOf(item);
    options.grace = kLong;
    futures.push_back(pool->ApplyAsync(options, HeedAtTens, item));
  }
  for (const int item : items_) {
    if (SleepsForEver(item)) {
      EXPECT_THAT(futures[item].Get(kLong),
                  StatusIs(absl::StatusCode::kDeadlineExceeded));
    } else {
      EXPECT_THAT(futures[item].Get(kLong), IsOkAndHolds(-item));
    }
  }
  EXPECT_THAT(pool->pids(), ::testing::UnorderedElementsAreArray(before));
  ExpectUsable(*pool);
}

}  // namespace
}  // namespace mp
