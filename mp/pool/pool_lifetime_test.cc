// How many workers a Pool has, and for how long.

#include <sys/resource.h>

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::PoolTestFixture;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::ResourceSnapshot;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

int Square(int x) { return x * x; }

class PoolLifetimeTest : public PoolTestFixture {};
MP_INSTANTIATE_TEST_SUITE(PoolLifetimeTest, AllStartMethods);

TEST_P(PoolLifetimeTest, ScopeEndsItAndWhatIsLeft) {
  std::optional<Future<std::vector<int>>> left;
  {
    auto pool = MakePool();
    ASSERT_THAT(pool, IsOk());
    EXPECT_THAT(pool->Map(Square, std::vector<int>{1, 2}), IsOk());
    left = pool->MapAsync(
        [](int x) {
          absl::SleepFor(absl::Milliseconds(10));
          return x;
        },
        std::vector<int>(1000));
  }
  EXPECT_TRUE(left->done());
  EXPECT_THAT(left->Get(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(PoolLifetimeTest, TerminatedPoolTakesNothing) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  pool->Terminate();
  const auto is_closed = StatusIs(absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(pool->Apply(Square, 1), is_closed);
  EXPECT_THAT(pool->Map(Square, std::vector<int>{1}), is_closed);
  auto results = pool->Imap(Square, std::vector<int>{1});
  EXPECT_THAT(*results.Next(kLong), is_closed);
  EXPECT_THAT(pool->Join(kLong), IsOk());
}

TEST_P(PoolLifetimeTest, CloseWithOneTaskWorkersFinishesAll) {
  auto pool = MakePool({.processes = 3, .max_tasks_per_child = 1});
  ASSERT_THAT(pool, IsOk());
  std::vector<Future<int>> results;
  for (int i = 0; i < 6; ++i) {
    results.push_back(pool->ApplyAsync(
        [](int x) {
          absl::SleepFor(absl::Milliseconds(20));
          return x * x;
        },
        i));
  }
  pool->Close();
  EXPECT_THAT(pool->Join(kLong), IsOk());
  for (int i = 0; i < 6; ++i) {
    EXPECT_THAT(results[static_cast<size_t>(i)].Get(), IsOkAndHolds(i * i));
  }
}

TEST_P(PoolLifetimeTest, StartsMoreWorkersOnDemand) {
  auto pool = MakePool({.processes = 3, .min_processes = 1});
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(pool->size(), 1);
  EXPECT_THAT(pool->Map(Square, std::vector<int>(100), {.chunk_size = 1}),
              IsOk());
  EXPECT_GT(pool->size(), 1);
  EXPECT_LE(pool->size(), 3);
  EXPECT_THAT(MakePool({.processes = 3, .min_processes = 4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4")));
  EXPECT_THAT(MakePool({.processes = 3, .min_processes = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1")));
}

// A fork server that cannot be asked for want of descriptors is started anew,
// which would look like a leak.
class PoolStartTest : public PoolTestFixture {};
INSTANTIATE_TEST_SUITE_P(AllButForkServer, PoolStartTest,
                         ::testing::Values(StartMethod::kFork,
                                           StartMethod::kSpawn,
                                           StartMethod::kThread),
                         internal::StartMethodTestName);

// Descriptors run out after a worker or two.
TEST_P(PoolStartTest, WorkersThatStartedAreEndedIfOneCannot) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const ResourceSnapshot held = ResourceSnapshot::Take();
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(held.fds().rbegin()->first) + 24;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const absl::Status status = MakePool({.processes = 20}).status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(MakePool()->Apply(Square, 2), IsOkAndHolds(4));
}

absl::Status UseAPool(StartMethod method) {
  MP_ASSIGN_OR_RETURN(Pool pool,
                      Pool::Create({.processes = 2, .context = method}));
  MP_ASSIGN_OR_RETURN(const int four, pool.Apply(Square, 2));
  return four == 4 ? absl::OkStatus() : absl::InternalError("not 4");
}

TEST_P(PoolLifetimeTest, ProcessThatIsNoDaemonMayHaveOne) {
  if (kThreadSanitizer && GetParam() == StartMethod::kFork) {
    GTEST_SKIP() << "Thread Sanitizer has no new threads in a forked child";
  }
  Process process({.context = GetParam()}, UseAPool, GetParam());
  EXPECT_EQ(internal::ExitCodeOf(process), 0);
}

TEST(LargePoolTest, TwoHundredWorkersMapAThousandItems) {
  const int workers = testing::Scaled(/*usual=*/200, /*full=*/200);
  auto pool =
      Pool::Create({.processes = workers, .context = StartMethod::kFork});
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(pool->size(), workers);
  const auto results =
      pool->Map(Square, std::vector<int>(1000, 3), {.chunk_size = 1});
  ASSERT_THAT(results, IsOk());
  EXPECT_EQ(*results, std::vector<int>(1000, 9));
}

}  // namespace
}  // namespace mp
