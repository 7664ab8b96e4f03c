#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/pool/current_task.h"
#include "mp/pool/executor.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/executor_test_fixture.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/event.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::ExecutorTestFixture;
using ::mp::internal::kLong;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;

int Square(int x) { return x * x; }
int SquareSlowly(int x) {
  absl::SleepFor(absl::Milliseconds(5));
  return x * x;
}
void Throw() { throw std::runtime_error("tricky"); }
absl::Status Meet(Event here, const Event& go_on) {
  MP_RETURN_IF_ERROR(here.Set());
  MP_RETURN_IF_ERROR(go_on.Wait(kLong));
  return TaskIsInterrupted() ? absl::AbortedError("interrupted")
                             : absl::OkStatus();
}

class ExecutorShutdownTest : public ExecutorTestFixture {};
MP_INSTANTIATE_TEST_SUITE(ExecutorShutdownTest, AllStartMethods);

TEST_P(ExecutorShutdownTest, TakesNoMoreCalls) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  EXPECT_THAT(executor->Shutdown(), IsOk());
  EXPECT_THAT(executor->Submit(Square, 1).Get(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(executor->Shutdown(), IsOk());
}

TEST_P(ExecutorShutdownTest, WaitsForAllThatWasSubmitted) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  std::vector<Future<int>> futures;
  for (int i = 0; i < 20; ++i) {
    futures.push_back(executor->Submit(SquareSlowly, i));
  }
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  for (const auto& future : futures) EXPECT_TRUE(future.done());
  EXPECT_THAT(futures[19].Get(), IsOkAndHolds(19 * 19));
}

TEST_P(ExecutorShutdownTest, DestructorWaitsToo) {
  std::optional<Future<int>> future;
  {
    auto executor = MakeExecutor();
    ASSERT_THAT(executor, IsOk());
    future = executor->Submit(SquareSlowly, 3);
  }
  ASSERT_TRUE(future->done());
  EXPECT_THAT(future->Get(), IsOkAndHolds(9));
}

TEST_P(ExecutorShutdownTest, SaysIfItsTimeIsOver) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event here = *Event::Create();
  Event go_on = *Event::Create();
  const Future<void> future = executor->Submit(Meet, here, go_on);
  EXPECT_THAT(executor->Shutdown({.timeout = absl::Milliseconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  EXPECT_THAT(future.Get(kLong), IsOk());
}

TEST_P(ExecutorShutdownTest, CancelsWhatHasNotBegunAndWaitsForTheRest) {
  auto executor = MakeExecutor({.max_workers = 1});
  ASSERT_THAT(executor, IsOk());
  Event here = *Event::Create();
  Event go_on = *Event::Create();
  const Future<void> running = executor->Submit(Meet, here, go_on);
  ASSERT_THAT(here.Wait(kLong), IsOk());
  std::vector<Future<int>> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(executor->Submit(Square, i));
  EXPECT_THAT(executor->Shutdown({.wait = false, .cancel_futures = true}),
              IsOk());
  for (const auto& future : waiting) {
    EXPECT_THAT(future.Get(kLong), StatusIs(absl::StatusCode::kCancelled));
    EXPECT_TRUE(future.cancelled());
  }
  EXPECT_FALSE(running.done());
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  EXPECT_THAT(running.Get(kLong), IsOk());
}

TEST_P(ExecutorShutdownTest, WithoutWaitingOutlivesTheExecutor) {
  std::vector<Future<int>> futures;
  {
    auto executor = MakeExecutor({.max_workers = 1});
    ASSERT_THAT(executor, IsOk());
    for (int i = 0; i < 5; ++i) {
      futures.push_back(executor->Submit(SquareSlowly, i));
    }
    EXPECT_THAT(executor->Shutdown({.wait = false}), IsOk());
  }
  EXPECT_THAT(futures[4].Get(kLong), IsOkAndHolds(16));
}

TEST_P(ExecutorShutdownTest, WithOneTaskWorkersFinishesAll) {
  for (const bool wait : {true, false}) {
    auto executor = MakeExecutor({.max_workers = 1, .max_tasks_per_child = 1});
    ASSERT_THAT(executor, IsOk());
    std::vector<Future<int>> futures;
    for (int i = 0; i < 4; ++i) futures.push_back(executor->Submit(Square, i));
    EXPECT_THAT(executor->Shutdown({.wait = wait, .timeout = kLong}), IsOk());
    for (int i = 0; i < 4; ++i) {
      EXPECT_THAT(futures[static_cast<size_t>(i)].Get(kLong),
                  IsOkAndHolds(i * i));
    }
  }
}

TEST_P(ExecutorShutdownTest, RacesWithSubmit) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  std::vector<Future<int>> futures;
  std::thread submitter([&] {
    for (int i = 0; i < 200; ++i)
      futures.push_back(executor->Submit(Square, 2));
  });
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  submitter.join();
  for (const auto& future : futures) {
    const absl::StatusOr<int> result = future.Get(kLong);
    if (result.ok()) continue;
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition));
  }
}

TEST_P(ExecutorShutdownTest, OfNothingThatEverRan) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  executor->KillWorkers();
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

TEST_P(ExecutorShutdownTest, MovedExecutorGoesOn) {
  auto first = MakeExecutor();
  auto second = MakeExecutor();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  const Future<int> future = second->Submit(SquareSlowly, 2);
  *second = *std::move(first);
  EXPECT_TRUE(future.done());
  EXPECT_THAT(second->Submit(Square, 3).Get(kLong), IsOkAndHolds(9));
}

// Those that kill, and programs.
class ExecutorExitTest : public ExecutorTestFixture {};
MP_INSTANTIATE_TEST_SUITE(ExecutorExitTest, RealStartMethods);

TEST_P(ExecutorExitTest, KillWorkersEndsWhatNeverWould) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event here = *Event::Create();
  Event never = *Event::Create();
  const Future<void> future = executor->Submit(Meet, here, never);
  ASSERT_THAT(here.Wait(kLong), IsOk());
  executor->KillWorkers();
  executor->KillWorkers();
  EXPECT_THAT(future.Get(kLong), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(executor->Submit(Square, 1).Get(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

// What a program leaves to its exit.
enum class Leave { kRunning, kShutDown, kFailing };

absl::Status ExitEarly(StartMethod method, Leave leave, Event done) {
  static auto* const executor = new absl::StatusOr<Executor>(
      Executor::Create({.max_workers = 1, .context = method}));
  MP_RETURN_IF_ERROR(executor->status());
  if (leave == Leave::kFailing) (*executor)->Submit(Throw);
  (*executor)->Submit(
      [](Event event) {
        absl::SleepFor(absl::Milliseconds(50));
        return event.Set();
      },
      done);
  if (leave == Leave::kRunning) return absl::OkStatus();
  return (*executor)->Shutdown({.wait = false});
}

TEST_P(ExecutorExitTest, ProgramEndsWhenAllIsDone) {
  for (const Leave leave :
       {Leave::kRunning, Leave::kShutDown, Leave::kFailing}) {
    Event done = *Event::Create();
    Process program({.context = GetParam()}, ExitEarly, GetParam(), leave,
                    done);
    EXPECT_EQ(internal::ExitCodeOf(program), 0);
    EXPECT_TRUE(done.IsSet());
  }
}

}  // namespace
}  // namespace mp
