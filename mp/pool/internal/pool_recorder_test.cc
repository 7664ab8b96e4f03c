#include "mp/pool/internal/pool_recorder.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/task.h"
#include "mp/process/parcel.h"
#include "mp/testing/leaks.h"

namespace mp::internal {

// Not static, so that it has a name in a stripped program, too.
int Hash(int x) { return x; }

namespace {

using ::mp::testing::LeakCheck;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::Duration kWall = absl::Hours(480000);
constexpr absl::Duration kMs = absl::Milliseconds(1);

class PoolRecorderTest : public ::testing::Test {
 protected:
  absl::Time At(int ms) const { return absl::UnixEpoch() + ms * kMs; }

  static TaskSpec Spec(uint64_t items, uint64_t first_index = 0) {
    auto payload = std::make_shared<TaskPayload>();
    for (uint64_t i = 0; i < items; ++i)
      payload->items.Add({std::string(100, 'x'), {}});
    payload->function_id = FunctionIdOf<int (*)(int)>::Of(&Hash);
    payload->first_index = first_index;
    TaskSpec spec;
    spec.items = items;
    spec.payload = std::move(payload);
    return spec;
  }

  void StartWorker(WorkerId id) {
    recorder_.OnStarting(id, absl::StrCat("W-", id), At(0));
    recorder_.OnStarted(id, static_cast<pid_t>(4000 + id));
    recorder_.OnReady(id, 30 * kMs, At(50));
  }

  WorkerInsights Worker(int ms) {
    const PoolInsights insights = recorder_.Insights(At(ms));
    return insights.workers.at(0);
  }

  PoolRecorder recorder_{/*traces=*/true, absl::UnixEpoch(), kWall};
};

TEST_F(PoolRecorderTest, DividesTheTimeOfAWorker) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(2), {0, 2}, At(100));
  EXPECT_FALSE(recorder_.OnDone(1, {1, 0}, Parcel{"ten bytes.", {}}, At(120)));
  EXPECT_TRUE(recorder_.OnDone(1, {1, 1}, absl::InternalError("bad"), At(190)));
  const WorkerInsights worker = Worker(300);
  EXPECT_EQ(worker.name, "W-1");
  EXPECT_EQ(worker.pid, 4001);
  EXPECT_EQ(worker.started_at, At(0) + kWall);
  EXPECT_EQ(worker.starting, 20 * kMs);
  EXPECT_EQ(worker.initializing, 30 * kMs);
  EXPECT_EQ(worker.working, 90 * kMs);
  EXPECT_EQ(worker.waiting, 160 * kMs);
  EXPECT_EQ(worker.items, 2);
  EXPECT_EQ(worker.failed, 1);
  EXPECT_EQ(worker.bytes_sent, 200);
  EXPECT_EQ(worker.bytes_received, 10);
  EXPECT_EQ(worker.ended_at, std::nullopt);
}

TEST_F(PoolRecorderTest, CountsWhatAWorkerIsAt) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(1), {0, 1}, At(100));
  EXPECT_EQ(Worker(400).working, 300 * kMs);
  EXPECT_EQ(Worker(400).waiting, 50 * kMs);
}

TEST_F(PoolRecorderTest, ATaskThatWaitsHasNotBegun) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(1), {0, 1}, At(100));
  recorder_.OnSent(1, 2, Spec(1), {0, 1}, At(101));
  EXPECT_TRUE(recorder_.OnDone(1, {1, 0}, Parcel(), At(200)));
  EXPECT_TRUE(recorder_.OnDone(1, {2, 0}, Parcel(), At(210)));
  const PoolInsights insights = recorder_.Insights(At(300));
  ASSERT_THAT(insights.slowest, SizeIs(2));
  EXPECT_EQ(insights.slowest[0].duration, 100 * kMs);
  EXPECT_EQ(insights.slowest[1].duration, 10 * kMs);
  EXPECT_EQ(insights.workers[0].working, 110 * kMs);
}

TEST_F(PoolRecorderTest, ATaskThatIsGivenUpIsNoMoreWork) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(5), {0, 5}, At(100));
  recorder_.OnDone(1, {1, 0}, Parcel(), At(110));
  recorder_.OnRanAllUpTo(1, 1);
  EXPECT_EQ(Worker(400).working, 10 * kMs);
}

TEST_F(PoolRecorderTest, ARecalledTaskIsNoWork) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(1), {0, 1}, At(100));
  recorder_.OnRecalled(1, 1, 1);
  EXPECT_EQ(Worker(400).working, absl::ZeroDuration());
  recorder_.OnDone(1, {1, 0}, Parcel(), At(500));  // of nothing that it has
  EXPECT_EQ(Worker(600).items, 0);
}

TEST_F(PoolRecorderTest, CountsAnItemThatItsWorkerWasLostWithOnce) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(3, 10), {0, 3}, At(100));
  recorder_.OnDone(1, {1, 0}, Parcel(), At(150));
  recorder_.OnEnded(1, RunItem{1, 1}, absl::UnavailableError("killed by x"),
                    At(170));
  StartWorker(2);
  recorder_.OnSent(2, 2, Spec(1), {0, 1}, At(100));
  recorder_.OnDone(2, {2, 0}, Parcel(), At(110));
  // It had been told when its worker ended.
  recorder_.OnEnded(2, RunItem{2, 0}, absl::UnavailableError("gone"), At(170));
  const PoolInsights insights = recorder_.Insights(At(500));
  EXPECT_EQ(insights.items, 3);
  EXPECT_EQ(insights.failed, 1);
  EXPECT_EQ(insights.workers[0].how_it_ended, "killed by x");
  EXPECT_EQ(insights.workers[0].ended_at, At(170) + kWall);
  EXPECT_EQ(insights.workers[0].working, 70 * kMs);
  EXPECT_EQ(insights.workers[0].waiting, 50 * kMs);
  EXPECT_EQ(insights.slowest[1].index, 11u);
  EXPECT_THAT(insights.slowest[1].outcome, HasSubstr("killed by x"));
}

TEST_F(PoolRecorderTest, KeepsTheSlowestItems) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(100, 1000), {0, 100}, At(100));
  int now = 100;
  for (uint64_t item = 0; item < 100; ++item) {
    now += static_cast<int>(item * 37 % 100) + 1;
    recorder_.OnDone(1, {1, item}, Parcel(), At(now));
  }
  const PoolInsights insights = recorder_.Insights(At(now));
  ASSERT_THAT(insights.slowest, SizeIs(PoolInsights::kMaxSlowest));
  for (int i = 0; i < 10; ++i) {
    const SlowItem& slow = insights.slowest[static_cast<size_t>(i)];
    EXPECT_EQ(slow.duration, (100 - i) * kMs);
    EXPECT_EQ((slow.index - 1000) * 37 % 100, static_cast<uint64_t>(99 - i));
  }
  EXPECT_THAT(insights.slowest,
              Each(AllOf(Field(&SlowItem::function, HasSubstr("Hash")),
                         Field(&SlowItem::worker, "W-1"))));
}

TEST_F(PoolRecorderTest, KeepsABoundedNumberOfEndedWorkers) {
  for (WorkerId id = 1; id <= 1200; ++id) {
    StartWorker(id);
    recorder_.OnEnded(id, std::nullopt, absl::UnavailableError("x"), At(60));
  }
  const PoolInsights insights = recorder_.Insights(At(100));
  EXPECT_THAT(insights.workers, SizeIs(PoolInsights::kMaxEnded));
  EXPECT_EQ(insights.workers_started, 1200);
  EXPECT_EQ(insights.workers.back().name, "W-1200");
}

TEST_F(PoolRecorderTest, AWorkersOwnWordOfItsTimeIsBounded) {
  recorder_.OnStarting(1, "liar", At(0));
  recorder_.OnReady(1, absl::Hours(1000), At(50));
  EXPECT_EQ(Worker(60).initializing, 50 * kMs);
  recorder_.OnStarting(2, "liar", At(1));
  recorder_.OnReady(2, -absl::Hours(1000), At(50));
  EXPECT_EQ(recorder_.Insights(At(60)).workers[1].starting, 49 * kMs);
}

TEST_F(PoolRecorderTest, IsReadable) {
  StartWorker(1);
  recorder_.OnSent(1, 1, Spec(1, 7), {0, 1}, At(100));
  recorder_.OnDone(1, {1, 0}, Parcel{std::string(5000, 'x'), {}}, At(1334));
  recorder_.OnEnded(1, std::nullopt,
                    absl::UnavailableError("killed by\x1b[2J SIGKILL\n  used"),
                    At(1500));
  EXPECT_EQ(
      recorder_.Insights(At(2000)).ToString(),
      "1 items, 0 failed; 1 workers started, 0 lost; 100 B sent, 4.9 KiB "
      "received\n"
      "worker   pid  items  failed  start  init   wait   work   sent  received"
      "  end\n"
      "W-1     4001      1       0   20ms  30ms  216ms  1.23s  100 B   4.9 KiB"
      "  killed by\\x1b[2J SIGKILL\n"
      "slowest  index  worker  function: outcome\n"
      "1.23s        7     W-1  mp::internal::Hash(int): OK\n");
}

TEST(FunctionNameTest, NamesFunctionsAndTypes) {
  EXPECT_THAT(FunctionName(FunctionIdOf<int (*)(int)>::Of(&Hash)),
              HasSubstr("Hash"));
  struct Functor {};
  EXPECT_THAT(FunctionName(FunctionIdOf<Functor>::Of({})),
              HasSubstr("Functor"));
  EXPECT_EQ(FunctionName({}), "?");
}

TEST(FunctionNameTest, LeavesNoFileOpen) {
  const LeakCheck leak_check;
  FunctionName(FunctionIdOf<int (*)(int)>::Of(&Hash));
}

}  // namespace
}  // namespace mp::internal
