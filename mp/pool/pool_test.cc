#include "mp/pool/pool.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/pool/current_task.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool_options.h"
#include "mp/pool/wait_futures.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

int Square(int x) { return x * x; }
int Add(int x, int y) { return x + y; }
pid_t Pid(int) { return getpid(); }
void Nothing(int) {}
absl::StatusOr<double> Root(double x) {
  if (x < 0) return absl::InvalidArgumentError(absl::StrCat(x, " is negative"));
  return std::sqrt(x);
}
int Throw(int x) { throw std::runtime_error(absl::StrCat("thrown by ", x)); }
int DieAt13(int x) {
  if (x == 13) raise(SIGKILL);
  return x;
}
int ExitWith(int code) { _exit(code); }
bool RunUntilInterrupted() {
  while (!TaskIsInterrupted()) absl::SleepFor(absl::Milliseconds(1));
  return true;
}
int SleepForEverAtZero(int x) {
  while (x == 0) absl::SleepFor(absl::Seconds(1));
  return x;
}

int initialized_with = 0;
void Initialize(int value) { initialized_with = value; }
int InitializedWith() { return initialized_with; }
absl::Status FailToInitialize() { return absl::NotFoundError("model.bin"); }

class PoolTest : public PoolTestFixture {};

MP_INSTANTIATE_TEST_SUITE(PoolTest, AllStartMethods);

TEST_P(PoolTest, AppliesAFunction) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Apply(Square, 7), IsOkAndHolds(49));
  EXPECT_THAT(pool->Apply(Add, 1, 2), IsOkAndHolds(3));
  EXPECT_THAT(pool->Apply(Nothing, 1), IsOk());
  const Future<int> later = pool->ApplyAsync(Square, 8);
  EXPECT_THAT(later.Get(), IsOkAndHolds(64));
}

TEST_P(PoolTest, MapsInOrder) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::vector<int> squares;
  for (const int x : Numbers(100)) squares.push_back(x * x);
  EXPECT_THAT(pool->Map(Square, Numbers(100)),
              IsOkAndHolds(ElementsAreArray(squares)));
  EXPECT_THAT(pool->Map(Square, Numbers(100), {.chunk_size = 20}),
              IsOkAndHolds(ElementsAreArray(squares)));
  EXPECT_THAT(pool->Map(Square, std::set<int>{3, 1, 2}),
              IsOkAndHolds(ElementsAre(1, 4, 9)));
}

TEST_P(PoolTest, MapsNothing) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::vector<int> none;
  EXPECT_THAT(pool->Map(Square, none), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(pool->Map(Nothing, none), IsOk());
  EXPECT_FALSE(pool->Imap(Square, none).Next().has_value());
  EXPECT_FALSE(pool->ImapUnordered(Square, none).Next().has_value());
}

TEST_P(PoolTest, StarMapTakesTuplesApart) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::vector<std::tuple<int, int>> pairs = {{1, 2}, {3, 4}};
  EXPECT_THAT(pool->StarMap(Add, pairs), IsOkAndHolds(ElementsAre(3, 7)));
}

TEST_P(PoolTest, MapGivesTheErrorOfTheFirstItemThatHasOne) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::vector<double> numbers = {4, -1, 9, -2};
  EXPECT_THAT(pool->Map(Root, numbers),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
  const auto each = pool->MapEach(Root, numbers);
  ASSERT_EQ(each.size(), 4u);
  EXPECT_THAT(each[2], IsOkAndHolds(3.0));
  EXPECT_THAT(each[3], StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(PoolTest, ExceptionIsTheTasksError) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const absl::StatusOr<int> result = pool->Apply(Throw, 5);
  EXPECT_THAT(result.status().message(), HasSubstr("thrown by 5"));
  EXPECT_THAT(pool->Apply(Square, 2), IsOkAndHolds(4));
}

TEST_P(PoolTest, ImapReadsNoFurtherThanItsBuffer) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  // A billion items, of which ten are wanted.
  struct Counting {
    struct Iterator {
      int value;
      int* read;
      int operator*() const { return value; }
      Iterator& operator++() {
        ++value;
        ++*read;
        return *this;
      }
      bool operator==(const Iterator& other) const {
        return value == other.value;
      }
    };
    int* read;
    Iterator begin() const { return {0, read}; }
    Iterator end() const { return {1'000'000'000, read}; }
  };
  int read = 0;
  {
    auto stream = pool->Imap(Square, Counting{&read}, {.buffer_size = 8});
    for (int i = 0; i < 10; ++i) {
      const auto result = stream.Next(kLong);
      ASSERT_TRUE(result.has_value());
      EXPECT_THAT(*result, IsOkAndHolds(i * i));
    }
  }
  EXPECT_LE(read, 10 + 8);
  EXPECT_THAT(pool->Apply(Square, 2), IsOkAndHolds(4));
}

TEST_P(PoolTest, ImapUnorderedGivesAll) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  auto stream = pool->ImapUnordered(Square, Numbers(50), {.chunk_size = 3});
  std::multiset<int> results;
  while (auto result = stream.Next(kLong)) {
    ASSERT_THAT(*result, IsOk());
    results.insert(**result);
  }
  EXPECT_EQ(results.size(), 50u);
  EXPECT_EQ(results.count(49 * 49), 1u);
}

TEST_P(PoolTest, InitializerRunsInEachWorker) {
  auto pool = MakePool(
      {.processes = 1, .initializer = PoolInitializer(Initialize, 42)});
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Apply(InitializedWith), IsOkAndHolds(42));
}

TEST_P(PoolTest, FailingInitializerIsReported) {
  EXPECT_THAT(
      MakePool({.initializer = PoolInitializer(FailToInitialize)}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("model.bin")));
}

TEST_P(PoolTest, RefusesSizesBelowOne) {
  EXPECT_THAT(MakePool({.processes = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(MakePool({.processes = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(pool->size(), 3);
  EXPECT_THAT(pool->Resize(0), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(PoolTest, CloseFinishesWhatIsThereAndTakesNoMore) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Join(), StatusIs(absl::StatusCode::kFailedPrecondition));
  auto results = pool->MapAsync(Square, Numbers(1000), {.chunk_size = 1});
  pool->Close();
  EXPECT_THAT(pool->Apply(Square, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(pool->Join(kLong), IsOk());
  ASSERT_TRUE(results.done());
  EXPECT_EQ(results.Get()->size(), 1000u);
}

TEST_P(PoolTest, ReplacesWorkersAfterSoManyTasks) {
  auto pool = MakePool({.processes = 2, .max_tasks_per_child = 3});
  ASSERT_THAT(pool, IsOk());
  const auto pids = pool->Map(Pid, Numbers(30), {.chunk_size = 1});
  ASSERT_THAT(pids, IsOk());
  if (GetParam() == StartMethod::kThread) return;  // all have one pid
  std::map<pid_t, int> tasks;
  for (const pid_t pid : *pids) ++tasks[pid];
  EXPECT_GE(tasks.size(), 10u);
  for (const auto& [pid, count] : tasks) EXPECT_LE(count, 3) << pid;
}

TEST_P(PoolTest, CallbacksRunBeforeTheFutureIsSeenToBeDoneByJoin) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::atomic<int> sum{0};
  for (const int x : Numbers(10)) {
    pool->ApplyAsync(Square, x).OnDone(
        [&](const Future<int>& done) { sum += *done.Get(); });
  }
  pool->Close();
  ASSERT_THAT(pool->Join(kLong), IsOk());
  EXPECT_EQ(sum, 285);
}

TEST_P(PoolTest, InterruptedTaskThatHeedsItCostsNoWorker) {
  auto pool = MakePool({.processes = 1});
  ASSERT_THAT(pool, IsOk());
  const auto pid = pool->Apply(Pid, 0);
  const auto late =
      pool->ApplyAsync({.time_limit = absl::Milliseconds(50), .grace = kLong},
                       RunUntilInterrupted);
  EXPECT_THAT(late.Get(kLong), StatusIs(absl::StatusCode::kDeadlineExceeded));
  const auto cancelled =
      pool->ApplyAsync({.grace = kLong}, RunUntilInterrupted);
  cancelled.Cancel();
  EXPECT_TRUE(cancelled.Wait(kLong));
  EXPECT_EQ(pool->Apply(Pid, 0).value(), pid.value());
}

TEST_P(PoolTest, LargeArgumentsAndResultsTravel) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::string large(size_t{8} << 20, 'x');
  const auto result =
      pool->Apply([](const std::string& text) { return text + "y"; }, large);
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(*result == large + "y");
}

class PoolDeathTest : public PoolTest {};
MP_INSTANTIATE_TEST_SUITE(PoolDeathTest, RealStartMethods);

TEST_P(PoolDeathTest, LostWorkerFailsOnlyWhatItRan) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto results = pool->MapEach(DieAt13, Numbers(100), {.chunk_size = 10});
  ASSERT_EQ(results.size(), 100u);
  for (size_t i = 0; i < results.size(); ++i) {
    if (i == 13) {
      EXPECT_THAT(results[i], StatusIs(absl::StatusCode::kUnavailable,
                                       HasSubstr("SIGKILL")));
    } else {
      EXPECT_THAT(results[i], IsOkAndHolds(static_cast<int>(i)));
    }
  }
}

TEST_P(PoolDeathTest, WorkerThatExitsIsSaidToHaveExited) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Apply(ExitWith, 3),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("3")));
  EXPECT_THAT(pool->Apply(Square, 2), IsOkAndHolds(4));
}

TEST_P(PoolDeathTest, LateTasksEndAndTheOthersAreRight) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::vector<int> inputs;
  for (const int i : Numbers(60)) inputs.push_back(i % 10);
  const auto results = pool->MapEach(SleepForEverAtZero, inputs,
                                     {.chunk_size = 1,
                                      .time_limit = absl::Milliseconds(300),
                                      .grace = absl::Milliseconds(10)});
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == 0) {
      EXPECT_THAT(results[i], StatusIs(absl::StatusCode::kDeadlineExceeded));
    } else {
      EXPECT_THAT(results[i], IsOkAndHolds(inputs[i])) << i;
    }
  }
  EXPECT_THAT(pool->Apply(Square, 2), IsOkAndHolds(4));
}

TEST_P(PoolDeathTest, TerminateEndsTasksThatNeverWould) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  auto results =
      pool->MapAsync(SleepForEverAtZero, std::vector<int>(10'000, 0));
  pool->Terminate();
  EXPECT_THAT(pool->Join(kLong), IsOk());
  EXPECT_THAT(results.Get(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(PoolDeathTest, IdleWorkersThatAreKilledAreReplaced) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (int round = 0; round < 5; ++round) {
    for (const pid_t pid : pool->pids()) kill(pid, SIGKILL);
    EXPECT_THAT(pool->Map(Square, Numbers(20), {.retries = 10}), IsOk());
  }
}

Pool* forgotten_pool = nullptr;

absl::Status ForgetAPool(StartMethod method) {
  absl::StatusOr<Pool> pool = Pool::Create({.processes = 2, .context = method});
  MP_RETURN_IF_ERROR(pool.status());
  forgotten_pool = new Pool(*std::move(pool));
  return forgotten_pool->Apply(Square, 2).status();
}

TEST_P(PoolDeathTest, ProgramNeedNotCloseItsPool) {
  Process program({.context = GetParam()}, ForgetAPool, GetParam());
  EXPECT_EQ(internal::ExitCodeOf(program), 0);
}

}  // namespace
}  // namespace mp
