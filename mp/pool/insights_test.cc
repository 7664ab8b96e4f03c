#include "mp/pool/insights.h"

#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::Duration kNap = absl::Milliseconds(100);

void Nap() { absl::SleepFor(kNap); }

std::string NapAt7(int x) {
  if (x == 7) Nap();
  return std::string(1000, 'x');
}

absl::Status FailAt3(int x) {
  return x == 3 ? absl::NotFoundError("3") : absl::OkStatus();
}

int DieAt5(int x) {
  if (x == 5) raise(SIGKILL);
  return x;
}

class InsightsTest : public PoolTestFixture {
 protected:
  InsightsTest() : PoolTestFixture(/*processes=*/2) {}
};

MP_INSTANTIATE_TEST_SUITE(InsightsTest, AllStartMethods);

TEST_P(InsightsTest, TellWhatWorkersHaveDone) {
  const absl::Time before = absl::Now();
  auto pool = MakePool({.initializer = PoolInitializer(Nap)});
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Map(NapAt7, Numbers(20)), IsOk());
  absl::SleepFor(kNap);
  const PoolInsights insights = pool->Insights();
  EXPECT_EQ(insights.items, 20);
  EXPECT_EQ(insights.failed, 0);
  EXPECT_EQ(insights.workers_started, 2);
  EXPECT_EQ(insights.workers_lost, 0);
  EXPECT_GE(insights.bytes_received, 20 * 1000);
  EXPECT_GT(insights.bytes_sent, 0);
  ASSERT_THAT(insights.workers, SizeIs(2));
  int64_t items = 0;
  for (const WorkerInsights& worker : insights.workers) {
    items += worker.items;
    EXPECT_THAT(worker.name, HasSubstr("PoolWorker-"));
    EXPECT_TRUE(worker.pid.has_value());
    EXPECT_GE(worker.started_at, before - absl::Seconds(1));
    EXPECT_GE(worker.initializing, kNap);
    EXPECT_GE(worker.waiting, kNap);
    EXPECT_GT(worker.starting, absl::ZeroDuration());
  }
  EXPECT_EQ(items, 20);
}

TEST_P(InsightsTest, KnowTheSlowestItem) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Apply(NapAt7, 7), IsOk());
  ASSERT_THAT(pool->Map(NapAt7, std::vector<int>(20, 1)), IsOk());
  const PoolInsights insights = pool->Insights();
  ASSERT_THAT(insights.slowest, SizeIs(PoolInsights::kMaxSlowest));
  EXPECT_GE(insights.slowest[0].duration, kNap);
  for (const SlowItem& slow : insights.slowest) {
    EXPECT_THAT(slow.function, HasSubstr("NapAt7"));
    EXPECT_THAT(slow.worker, HasSubstr("PoolWorker-"));
    EXPECT_EQ(slow.outcome, "OK");
  }
}

TEST_P(InsightsTest, CountItemsThatFail) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Map(FailAt3, Numbers(20)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(pool->Insights().items, 20);
  EXPECT_EQ(pool->Insights().failed, 1);
}

TEST_P(InsightsTest, AreThereAfterTheEnd) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Map(FailAt3, Numbers(2)), IsOk());
  pool->Close();
  ASSERT_THAT(pool->Join(), IsOk());
  const PoolInsights insights = pool->Insights();
  ASSERT_THAT(insights.workers, SizeIs(2));
  for (const WorkerInsights& worker : insights.workers) {
    EXPECT_TRUE(worker.ended_at.has_value());
  }
  EXPECT_EQ(insights.workers_lost, 0);
}

class InsightsOfDeathTest : public InsightsTest {};

MP_INSTANTIATE_TEST_SUITE(InsightsOfDeathTest, RealStartMethods);

TEST_P(InsightsOfDeathTest, TellHowAWorkerEnded) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Map(DieAt5, Numbers(20)),
              StatusIs(absl::StatusCode::kUnavailable));
  const PoolInsights insights = pool->Insights();
  EXPECT_EQ(insights.items, 20);
  EXPECT_EQ(insights.failed, 1);
  EXPECT_EQ(insights.workers_lost, 1);
  int ended = 0;
  for (const WorkerInsights& worker : insights.workers) {
    if (!worker.ended_at.has_value()) continue;
    ++ended;
    EXPECT_THAT(worker.how_it_ended, HasSubstr("SIGKILL"));
    EXPECT_EQ(worker.failed, 1);
  }
  EXPECT_EQ(ended, 1);
  EXPECT_THAT(insights.ToString(), HasSubstr("SIGKILL"));
}

}  // namespace
}  // namespace mp
