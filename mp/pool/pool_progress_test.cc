#include <signal.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/progress.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::IsEmpty;
using ::testing::SizeIs;

int Same(int x) { return x; }
absl::Status FailIfOdd(int x) {
  return x % 2 == 1 ? absl::NotFoundError("odd") : absl::OkStatus();
}
int NapShortly(int x) {
  absl::SleepFor(absl::Milliseconds(5));
  return x;
}

// Keeps what was told.
class Told {
 public:
  ProgressCallback Callback() {
    return [this](const Progress& progress) {
      absl::MutexLock lock(&mutex_);
      all_.push_back(progress);
    };
  }
  std::vector<Progress> All() {
    absl::MutexLock lock(&mutex_);
    return all_;
  }
  // What was finished.
  std::vector<Progress> Ends() {
    std::vector<Progress> ends;
    for (const Progress& progress : All()) {
      if (progress.finished) ends.push_back(progress);
    }
    return ends;
  }

 private:
  absl::Mutex mutex_;
  std::vector<Progress> all_ ABSL_GUARDED_BY(mutex_);
};

class PoolProgressTest : public PoolTestFixture {
 protected:
  PoolProgressTest() : PoolTestFixture(/*processes=*/2) {}

  absl::StatusOr<Pool> MakePool() {
    return PoolTestFixture::MakePool({.progress = told_.Callback()});
  }

  Told told_;
};

MP_INSTANTIATE_TEST_SUITE(PoolProgressTest, AllStartMethods);

TEST_P(PoolProgressTest, EndIsToldBeforeMapReturns) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (size_t round = 1; round <= 20; ++round) {
    ASSERT_THAT(pool->Map(Same, Numbers(10)), IsOk());
    const std::vector<Progress> ends = told_.Ends();
    ASSERT_THAT(ends, SizeIs(round));
    EXPECT_EQ(ends.back().done, 10u);
    EXPECT_EQ(ends.back().total, 10u);
    EXPECT_EQ(ends.back().failed, 0u);
    EXPECT_TRUE(told_.All().back().finished) << "something came after it";
  }
}

TEST_P(PoolProgressTest, IsToldMeanwhile) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Map(NapShortly, Numbers(150)), IsOk());
  const std::vector<Progress> all = told_.All();
  // It takes 375 ms at least.
  EXPECT_GE(all.size(), 3u);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_GE(all[i].done, all[i - 1].done);
    EXPECT_EQ(all[i].total, 150u);
    if (all[i].finished) continue;
    EXPECT_GE(all[i].elapsed, all[i - 1].elapsed + absl::Milliseconds(100));
  }
}

TEST_P(PoolProgressTest, CountsFailures) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->MapEach(FailIfOdd, Numbers(11)), SizeIs(11));
  ASSERT_THAT(told_.Ends(), SizeIs(1));
  EXPECT_EQ(told_.Ends()[0].done, 11u);
  EXPECT_EQ(told_.Ends()[0].failed, 5u);
}

TEST_P(PoolProgressTest, OfOneCallIsToldToIt) {
  Told of_call;
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Map(Same, Numbers(10), {.progress = of_call.Callback()}),
              IsOk());
  EXPECT_THAT(told_.All(), IsEmpty());
  ASSERT_THAT(of_call.Ends(), SizeIs(1));
  EXPECT_EQ(of_call.Ends()[0].done, 10u);
}

TEST_P(PoolProgressTest, OfALazyInputHasNoTotalUntilItsEnd) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  auto stream = pool->Imap(NapShortly, Numbers(100), {.buffer_size = 8});
  int read = 0;
  while (stream.Next().has_value()) ++read;
  EXPECT_EQ(read, 100);
  const std::vector<Progress> all = told_.All();
  ASSERT_GE(all.size(), 2u);
  EXPECT_EQ(all.front().total, std::nullopt);
  ASSERT_THAT(told_.Ends(), SizeIs(1));
  EXPECT_EQ(all.back().done, 100u);
  EXPECT_EQ(all.back().total, 100u);
  EXPECT_TRUE(all.back().finished);
}

TEST_P(PoolProgressTest, OfAStreamThatIsLeftEnds) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  {
    auto stream = pool->Imap(Same, Numbers(10'000));
    ASSERT_TRUE(stream.Next().has_value());
  }
  pool->Close();
  ASSERT_THAT(pool->Join(), IsOk());
  EXPECT_THAT(told_.Ends(), SizeIs(1));
}

TEST_P(PoolProgressTest, EndsWithThePool) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto map = pool->MapAsync(NapShortly, Numbers(1000));
  pool->Terminate();
  EXPECT_THAT(map.Get(), StatusIs(absl::StatusCode::kCancelled));
  ASSERT_THAT(told_.Ends(), SizeIs(1));
  EXPECT_EQ(told_.Ends()[0].done, 1000u);
  // And of what it refuses.
  EXPECT_THAT(pool->Map(Same, Numbers(10)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(told_.Ends(), SizeIs(2));
  EXPECT_EQ(told_.Ends()[1].failed, 10u);
}

}  // namespace
}  // namespace mp
