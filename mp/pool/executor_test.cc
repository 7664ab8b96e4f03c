#include "mp/pool/executor.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/executor_test_fixture.h"
#include "mp/pool/pool_options.h"
#include "mp/pool/wait_futures.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/sync/event.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::ExecutorTestFixture;
using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

int Square(int x) { return x * x; }
int Add(int x, int y) { return x + y; }
pid_t Pid() { return getpid(); }
int Throw(int x) { throw std::runtime_error(absl::StrCat("thrown by ", x)); }
absl::Status AwaitEvent(const Event& event) { return event.Wait(kLong); }
// Says that it runs, and goes on when it may.
absl::Status Meet(Event here, const Event& go_on) {
  MP_RETURN_IF_ERROR(here.Set());
  return go_on.Wait(kLong);
}

int initialized_with = 0;
void Initialize(int value) { initialized_with = value; }
int InitializedWith() { return initialized_with; }
absl::Status FailToInitialize() { return absl::NotFoundError("model.bin"); }

class ExecutorTest : public ExecutorTestFixture {};
MP_INSTANTIATE_TEST_SUITE(ExecutorTest, AllStartMethods);

TEST_P(ExecutorTest, SubmitsCalls) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  EXPECT_EQ(executor->workers(), 0) << "they start on demand";
  const Future<int> square = executor->Submit(Square, 7);
  const Future<int> sum = executor->Submit({.retries = 1}, Add, 1, 2);
  EXPECT_THAT(square.Get(kLong), IsOkAndHolds(49));
  EXPECT_THAT(sum.Get(kLong), IsOkAndHolds(3));
  EXPECT_THAT(square.Error(), IsOk());
  EXPECT_FALSE(square.running());
}

TEST_P(ExecutorTest, RefusesNumbersBelowOne) {
  EXPECT_THAT(MakeExecutor({.max_workers = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0")));
  EXPECT_THAT(MakeExecutor({.max_workers = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
  EXPECT_THAT(MakeExecutor({.max_tasks_per_child = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
}

TEST_P(ExecutorTest, IdleWorkerIsUsedAgain) {
  auto executor = MakeExecutor({.max_workers = 4});
  ASSERT_THAT(executor, IsOk());
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(executor->Submit(Square, i).Get(kLong), IsOkAndHolds(i * i));
  }
  EXPECT_EQ(executor->workers(), 1);
}

// Each waits for all: they end if each has a worker.
TEST_P(ExecutorTest, WorkersStartUntilNoTaskWaitsForABusyOne) {
  auto executor = MakeExecutor({.max_workers = 3});
  ASSERT_THAT(executor, IsOk());
  std::vector<Event> here;
  for (int i = 0; i < 3; ++i) here.push_back(*Event::Create());
  Event go_on = *Event::Create();
  std::vector<Future<void>> futures;
  for (const Event& event : here) {
    futures.push_back(executor->Submit(Meet, event, go_on));
    EXPECT_THAT(event.Wait(kLong), IsOk());
  }
  EXPECT_EQ(executor->workers(), 3);
  for (const auto& future : futures) EXPECT_TRUE(future.running());
  EXPECT_THAT(go_on.Set(), IsOk());
  for (const auto& future : futures) EXPECT_THAT(future.Get(kLong), IsOk());
}

TEST_P(ExecutorTest, IdleWorkersEndAfterTheirTime) {
  auto executor =
      MakeExecutor({.max_workers = 2, .idle_timeout = absl::Milliseconds(10)});
  ASSERT_THAT(executor, IsOk());
  EXPECT_THAT(executor->Submit(Square, 2).Get(kLong), IsOkAndHolds(4));
  const absl::Time end = absl::Now() + kLong;
  while (executor->workers() > 0 && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(executor->workers(), 0);
  EXPECT_THAT(executor->Submit(Square, 3).Get(kLong), IsOkAndHolds(9));
}

TEST_P(ExecutorTest, SaturatedByManyCalls) {
  auto executor = MakeExecutor({.max_workers = 2});
  ASSERT_THAT(executor, IsOk());
  std::vector<Future<int>> futures;
  for (int i = 0; i < 200; ++i) futures.push_back(executor->Submit(Square, i));
  EXPECT_LE(executor->workers(), 2);
  EXPECT_THAT(Wait(futures, kLong), SizeIs(200));
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(futures[static_cast<size_t>(i)].Get(), IsOkAndHolds(i * i));
  }
}

TEST_P(ExecutorTest, ErrorIsThatOfTheCall) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  const Future<int> future = executor->Submit(Throw, 5);
  EXPECT_THAT(future.Error(kLong),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("thrown by 5")));
  EXPECT_THAT(future.successful(), IsOkAndHolds(false));
}

TEST_P(ExecutorTest, ErrorTimesOutAndTheResultIsStillToCome) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event go_on = *Event::Create();
  const Future<void> future = executor->Submit(AwaitEvent, go_on);
  EXPECT_THAT(
      future.Error(absl::Milliseconds(1)),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("Error")));
  EXPECT_THAT(future.Get(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(future.Get(kLong), IsOk());
}

TEST_P(ExecutorTest, CancelledBeforeItRuns) {
  auto executor = MakeExecutor({.max_workers = 1});
  ASSERT_THAT(executor, IsOk());
  Event go_on = *Event::Create();
  const Future<void> first = executor->Submit(AwaitEvent, go_on);
  const Future<int> second = executor->Submit(Square, 2);
  second.Cancel();
  EXPECT_THAT(second.Get(kLong), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(second.cancelled());
  EXPECT_FALSE(first.done());
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(first.Get(kLong), IsOk());
}

TEST_P(ExecutorTest, InitializerRunsInEachWorker) {
  auto executor =
      MakeExecutor({.initializer = PoolInitializer(Initialize, 42)});
  ASSERT_THAT(executor, IsOk());
  EXPECT_THAT(executor->Submit(InitializedWith).Get(kLong), IsOkAndHolds(42));
}

TEST_P(ExecutorTest, FailingInitializerBreaksItOnce) {
  auto executor =
      MakeExecutor({.initializer = PoolInitializer(FailToInitialize)});
  ASSERT_THAT(executor, IsOk());
  const auto is_broken =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("model.bin"));
  EXPECT_THAT(executor->Submit(Square, 1).Get(kLong), is_broken);
  EXPECT_THAT(executor->Submit(Square, 1).Get(kLong), is_broken);
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

TEST_P(ExecutorTest, ReplacesWorkersAfterSoManyTasks) {
  auto executor = MakeExecutor({.max_workers = 1, .max_tasks_per_child = 2});
  ASSERT_THAT(executor, IsOk());
  std::vector<Future<pid_t>> futures;
  for (int i = 0; i < 7; ++i) futures.push_back(executor->Submit(Pid));
  std::multiset<pid_t> pids;
  for (const auto& future : futures) pids.insert(future.Get(kLong).value());
  if (GetParam() == StartMethod::kThread) return;  // all have one pid
  for (const pid_t pid : pids) EXPECT_LE(pids.count(pid), 2u);
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

TEST_P(ExecutorTest, CallbackMaySubmit) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  std::atomic<int> result{0};
  absl::Notification finished;
  executor->Submit(Square, 2).OnSuccess([&](int four) {
    executor->Submit(Square, four).OnSuccess([&](int sixteen) {
      result = sixteen;
      finished.Notify();
    });
  });
  EXPECT_TRUE(finished.WaitForNotificationWithTimeout(kLong));
  EXPECT_EQ(result, 16);
}

TEST_P(ExecutorTest, CallbackThatThrowsOrShutsDownCostsNobodyAnything) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  executor->Submit(Square, 1).OnDone(
      [](const Future<int>&) { throw std::runtime_error("by a callback"); });
  EXPECT_THAT(executor->Submit(Square, 2).Get(kLong), IsOkAndHolds(4));
  absl::Status shutdown;
  const Future<int> last = executor->Submit(Square, 3);
  absl::Notification finished;
  last.OnDone([&](const Future<int>&) {
    shutdown = executor->Shutdown();
    finished.Notify();
  });
  EXPECT_TRUE(finished.WaitForNotificationWithTimeout(kLong));
  // It may have been done before the callback was set, and then we called it.
  if (!shutdown.ok()) {
    EXPECT_THAT(shutdown, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("callback")));
  }
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

TEST(ThreadPoolExecutorTest, RunsCallsInThisProcess) {
  auto executor = ThreadPoolExecutor::Create({.max_workers = 2});
  ASSERT_THAT(executor, IsOk());
  EXPECT_THAT(executor->Submit(Pid).Get(kLong), IsOkAndHolds(getpid()));
}

}  // namespace
}  // namespace mp
