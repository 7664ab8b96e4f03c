#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/pool/executor.h"
#include "mp/pool/internal/counting_range.h"
#include "mp/pool/internal/executor_test_fixture.h"
#include "mp/pool/result_stream.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/sync/event.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::CountingRange;
using ::mp::internal::ExecutorTestFixture;
using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

int Square(int x) { return x * x; }
int Add(int x, int y) { return x + y; }
int ThrowAtTwo(int x) {
  if (x == 2) throw std::runtime_error("thrown by two");
  return x;
}
absl::StatusOr<int> AwaitEventAtOne(int x, const Event& event) {
  if (x == 1) MP_RETURN_IF_ERROR(event.Wait(kLong));
  return x;
}

// The values up to the end or an error, which is the last.
template <typename T>
std::vector<absl::StatusOr<T>> ReadAll(ResultStream<T>& results) {
  std::vector<absl::StatusOr<T>> all;
  while (auto result = results.Next(kLong)) all.push_back(*std::move(result));
  return all;
}

class ExecutorMapTest : public ExecutorTestFixture {};
MP_INSTANTIATE_TEST_SUITE(ExecutorMapTest, AllStartMethods);

TEST_P(ExecutorMapTest, GivesResultsInTheOrderOfTheItems) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  for (const size_t chunk_size : {1, 2, 7, 100}) {
    auto results = executor->Map({.task = {.chunk_size = chunk_size}}, Square,
                                 std::vector<int>{1, 2, 3, 4, 5});
    EXPECT_THAT(ReadAll(results),
                ElementsAre(IsOkAndHolds(1), IsOkAndHolds(4), IsOkAndHolds(9),
                            IsOkAndHolds(16), IsOkAndHolds(25)));
  }
}

TEST_P(ExecutorMapTest, ReadsRangesSideBySideUpToTheShortest) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  int read = 0;
  auto sums =
      executor->Map(Add, std::vector<int>{10, 20, 30}, CountingRange(&read));
  EXPECT_THAT(ReadAll(sums), ElementsAre(IsOkAndHolds(10), IsOkAndHolds(21),
                                         IsOkAndHolds(32)));
}

TEST_P(ExecutorMapTest, OfNothingGivesNothing) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  auto results = executor->Map(Square, std::vector<int>());
  EXPECT_THAT(ReadAll(results), IsEmpty());
}

TEST_P(ExecutorMapTest, ErrorStandsInItsPlaceAndTheRestFollows) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  auto results = executor->Map(ThrowAtTwo, std::vector<int>{1, 2, 3});
  EXPECT_THAT(ReadAll(results),
              ElementsAre(IsOkAndHolds(1),
                          StatusIs(absl::StatusCode::kUnknown,
                                   HasSubstr("thrown by two")),
                          IsOkAndHolds(3)));
}

TEST_P(ExecutorMapTest, TimeOverCancelsTheRest) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event go_on = *Event::Create();
  // The first item may or may not make it; the second one cannot.
  auto results = executor->Map({.timeout = absl::Milliseconds(200),
                                .task = {.grace = absl::ZeroDuration()}},
                               AwaitEventAtOne, std::vector<int>{0, 1, 2},
                               std::vector<Event>(3, go_on));
  const auto all = ReadAll(results);
  ASSERT_FALSE(all.empty());
  EXPECT_LE(all.size(), 2u);
  EXPECT_THAT(all.back(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("Map")));
  EXPECT_THAT(go_on.Set(), IsOk());
  EXPECT_THAT(executor->Submit(Square, 2).Get(kLong), IsOkAndHolds(4));
}

TEST_P(ExecutorMapTest, BeginsAtOnce) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event begun = *Event::Create();
  auto results = executor->Map([](Event event) { return event.Set(); },
                               std::vector<Event>{begun});
  EXPECT_THAT(begun.Wait(kLong), IsOk());
}

TEST_P(ExecutorMapTest, ReadsNoFurtherAheadThanTheBuffer) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  for (const size_t buffer_size : {1, 2, 5}) {
    for (const size_t chunk_size : {1, 3}) {
      int read = 0;
      auto results = executor->Map(
          {.task = {.chunk_size = chunk_size, .buffer_size = buffer_size}},
          Square, CountingRange(&read));
      const size_t chunk = std::min(chunk_size, buffer_size);
      EXPECT_EQ(read, static_cast<int>(buffer_size / chunk * chunk));
      for (int i = 0; i < 10; ++i) {
        const auto result = results.Next(kLong);
        ASSERT_TRUE(result.has_value());
        EXPECT_THAT(*result, IsOkAndHolds(i * i));
        EXPECT_LE(read, i + 1 + static_cast<int>(buffer_size));
      }
    }
  }
}

TEST_P(ExecutorMapTest, RefusesSizesOfZeroOnce) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  int read = 0;
  auto no_buffer =
      executor->Map({.task = {.buffer_size = 0}}, Square, CountingRange(&read));
  EXPECT_THAT(ReadAll(no_buffer),
              ElementsAre(StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("buffer_size"))));
  auto no_chunk =
      executor->Map({.task = {.chunk_size = 0}}, Square, CountingRange(&read));
  EXPECT_THAT(ReadAll(no_chunk),
              ElementsAre(StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("chunk_size"))));
  EXPECT_EQ(read, 0);
}

TEST_P(ExecutorMapTest, CloseGivesUpTheRest) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  int read = 0;
  auto results = executor->Map(Square, CountingRange(&read));
  EXPECT_THAT(*results.Next(kLong), IsOkAndHolds(0));
  results.Close();
  EXPECT_FALSE(results.Next(kLong).has_value());
  results.Close();
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
}

TEST_P(ExecutorMapTest, InputThatThrowsIsTheLastResult) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  int read = 0;
  auto results = executor->Map(Square, CountingRange(&read, /*throw_at=*/3));
  const auto all = ReadAll(results);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_THAT(all[2], IsOkAndHolds(4));
  EXPECT_THAT(all[3],
              StatusIs(absl::StatusCode::kUnknown, HasSubstr("item 3")));
}

}  // namespace
}  // namespace mp
