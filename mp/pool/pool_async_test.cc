// What the asynchronous calls of a Pool give: CPython's AsyncResult.

#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <tuple>
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
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/sync/event.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::PoolTestFixture;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

int Square(int x) { return x * x; }
int Add(int x, int y) { return x + y; }
int Throw(int x) { throw std::runtime_error(absl::StrCat("thrown by ", x)); }
absl::Status AwaitEvent(const Event& event) { return event.Wait(kLong); }
absl::StatusOr<int> FailAtOneElseWait(int x, const Event& event) {
  if (x == 1) return absl::NotFoundError("one");
  MP_RETURN_IF_ERROR(event.Wait(kLong));
  return x;
}

class PoolAsyncTest : public PoolTestFixture {};
MP_INSTANTIATE_TEST_SUITE(PoolAsyncTest, AllStartMethods);

TEST_P(PoolAsyncTest, ResultIsThereAfterTheCallOnly) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  Event go_on = *Event::Create();
  const Future<void> result = pool->ApplyAsync(AwaitEvent, go_on);
  EXPECT_FALSE(result.ready());
  EXPECT_THAT(result.successful(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(result.Wait(absl::Milliseconds(1)));
  EXPECT_THAT(result.Get(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("1ms")));
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_TRUE(result.Wait(kLong));
  EXPECT_TRUE(result.ready());
  EXPECT_THAT(result.successful(), IsOkAndHolds(true));
  EXPECT_THAT(result.Get(), IsOk());
}

TEST_P(PoolAsyncTest, IsRunningOnceAWorkerIsAtIt) {
  auto pool = MakePool({.processes = 1});
  ASSERT_THAT(pool, IsOk());
  Event here = *Event::Create();
  Event go_on = *Event::Create();
  const Future<void> first = pool->ApplyAsync(
      [](Event at, const Event& until) {
        at.Set().IgnoreError();
        return until.Wait(kLong);
      },
      here, go_on);
  const Future<int> second = pool->ApplyAsync(Square, 2);
  ASSERT_THAT(here.Wait(kLong), IsOk());
  EXPECT_TRUE(first.running());
  EXPECT_FALSE(second.running());
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(second.Get(kLong), IsOkAndHolds(4));
  EXPECT_FALSE(first.running());
  EXPECT_FALSE(second.running());
}

TEST_P(PoolAsyncTest, CallbackGetsTheResultOnce) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::atomic<int> result{0};
  std::atomic<int> errors{0};
  const Future<int> future = pool->ApplyAsync(Square, 7);
  future.OnSuccess([&](int value) { result += value; });
  future.OnError([&](const absl::Status&) { ++errors; });
  std::atomic<int> ends{0};
  const Future<void> nothing = pool->ApplyAsync([] {});
  nothing.OnSuccess([&] { ++ends; });
  pool->Close();
  EXPECT_THAT(pool->Join(kLong), IsOk());
  EXPECT_EQ(result, 49);
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(ends, 1);
}

TEST_P(PoolAsyncTest, MapCallbackGetsAllResultsAtOnce) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::vector<int> squares;
  std::vector<int> sums;
  pool->MapAsync(Square, std::vector<int>{1, 2, 3})
      .OnSuccess([&](std::vector<int> all) { squares = std::move(all); });
  pool->StarMapAsync(Add, std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}})
      .OnSuccess([&](std::vector<int> all) { sums = std::move(all); });
  pool->Close();
  EXPECT_THAT(pool->Join(kLong), IsOk());
  EXPECT_THAT(squares, ElementsAre(1, 4, 9));
  EXPECT_THAT(sums, ElementsAre(3, 7));
}

TEST_P(PoolAsyncTest, ErrorCallbackGetsTheErrorThatGetGives) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::atomic<int> results{0};
  absl::Status error;
  absl::Notification heard;
  const Future<int> future = pool->ApplyAsync(Throw, 5);
  future.OnSuccess([&](int) { ++results; });
  future.OnError([&](const absl::Status& status) {
    error = status;
    heard.Notify();
  });
  ASSERT_TRUE(heard.WaitForNotificationWithTimeout(kLong));
  EXPECT_THAT(error,
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("thrown by 5")));
  EXPECT_EQ(future.Get().status(), error);
  EXPECT_EQ(results, 0);
}

TEST_P(PoolAsyncTest, StopsAtTheFirstErrorIfAsked) {
  auto pool = MakePool({.processes = 2});
  ASSERT_THAT(pool, IsOk());
  Event go_on = *Event::Create();
  // The other worker waits at item 0, before the item that fails.
  std::vector<std::tuple<int, Event>> items;
  for (int i = 0; i < 50; ++i) items.emplace_back(i, go_on);
  const auto all = pool->StarMapAsync(
      FailAtOneElseWait, items,
      {.chunk_size = 1, .grace = kLong, .stop_at_first_error = true});
  EXPECT_THAT(all.Get(kLong),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("one")));
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(pool->Apply(Square, 2), IsOkAndHolds(4));
}

TEST_P(PoolAsyncTest, MapEachCancelsTheRestAtTheFirstErrorIfAsked) {
  auto pool = MakePool({.processes = 1});
  ASSERT_THAT(pool, IsOk());
  std::vector<int> items(1000, 2);
  items[0] = 1;
  const auto each = pool->MapEach(
      [](int x) -> absl::StatusOr<int> {
        if (x == 1) return absl::NotFoundError("one");
        absl::SleepFor(absl::Milliseconds(20));
        return x;
      },
      items, {.chunk_size = 1, .stop_at_first_error = true});
  ASSERT_EQ(each.size(), 1000u);
  EXPECT_THAT(each[0], StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(each[999], StatusIs(absl::StatusCode::kCancelled));
}

TEST(ThreadPoolTest, IsAPoolOfThreads) {
  auto pool = ThreadPool::Create({.processes = 2});
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(pool->size(), 2);
  EXPECT_THAT(pool->Apply([] { return getpid(); }), IsOkAndHolds(getpid()));
  EXPECT_THAT(pool->Map(Square, std::vector<int>{1, 2}),
              IsOkAndHolds(ElementsAre(1, 4)));
}

}  // namespace
}  // namespace mp
