// Where a Pool reads its items from.

#include <istream>
#include <iterator>
#include <list>
#include <sstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/counting_range.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/internal/tricky_value.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/pool/result_stream.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::CountingRange;
using ::mp::internal::kLong;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::Trick;
using ::mp::internal::TrickyValue;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

int Square(int x) { return x * x; }
bool Not(bool x) { return !x; }
void Take(const TrickyValue&) {}

// Numbers that can be read once, of a range that changes as it is read.
class NumbersOf {
 public:
  explicit NumbersOf(std::istream& text) : text_(&text) {}
  std::istream_iterator<int> begin() {
    return std::istream_iterator<int>(*text_);
  }
  std::istream_iterator<int> end() { return {}; }

 private:
  std::istream* text_;
};

// Numbers that say how many they are before one of them throws.
class TenNumbers {
 public:
  explicit TenNumbers(int throw_at) : throw_at_(throw_at) {}
  CountingRange::Iterator begin() {
    return CountingRange(&read_, throw_at_).begin();
  }
  std::default_sentinel_t end() const { return {}; }
  size_t size() const { return 10; }

 private:
  int throw_at_;
  int read_ = 0;
};

class PoolInputTest : public PoolTestFixture {};
MP_INSTANTIATE_TEST_SUITE(PoolInputTest, AllStartMethods);

TEST_P(PoolInputTest, RangesOfAllKinds) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::list<int> list = {1, 2, 3};
  EXPECT_THAT(pool->Map(Square, list), IsOkAndHolds(ElementsAre(1, 4, 9)));
  const int array[] = {1, 2, 3};
  EXPECT_THAT(pool->Map(Square, array), IsOkAndHolds(ElementsAre(1, 4, 9)));
  EXPECT_THAT(pool->Map(Not, std::vector<bool>{true, false}),
              IsOkAndHolds(ElementsAre(false, true)));
  std::istringstream text("1 2 3");
  EXPECT_THAT(pool->Map(Square, NumbersOf(text)),
              IsOkAndHolds(ElementsAre(1, 4, 9)));
}

TEST_P(PoolInputTest, StreamsReadRangesThatCanBeReadOnce) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  std::istringstream text("1 2 3");
  auto results = pool->Imap(Square, NumbersOf(text));
  EXPECT_THAT(*results.Next(kLong), IsOkAndHolds(1));
  EXPECT_THAT(*results.Next(kLong), IsOkAndHolds(4));
  EXPECT_THAT(*results.Next(kLong), IsOkAndHolds(9));
  EXPECT_FALSE(results.Next(kLong).has_value());
}

TEST_P(PoolInputTest, MapGivesWhatItsInputThrowsAgainAndAgain) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto has_thrown =
      StatusIs(absl::StatusCode::kUnknown, HasSubstr("thrown by item 3"));
  for (int round = 0; round < 3; ++round) {
    int read = 0;
    EXPECT_THAT(pool->Map(Square, CountingRange(&read, /*throw_at=*/3)),
                has_thrown);
    EXPECT_EQ(read, 3);
    EXPECT_THAT(pool->Map(Square, TenNumbers(3), {.chunk_size = 2}),
                has_thrown);
  }
  int read = 0;
  const auto each = pool->MapEach(Square, CountingRange(&read, 3));
  ASSERT_EQ(each.size(), 4u);
  EXPECT_THAT(each[2], IsOkAndHolds(4));
  EXPECT_THAT(each[3], has_thrown);
}

TEST_P(PoolInputTest, StreamsGiveWhatTheirInputThrowsInItsPlace) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (const size_t chunk_size : {1, 2, 5}) {
    int read = 0;
    auto results = pool->Imap(Square, CountingRange(&read, /*throw_at=*/3),
                              {.chunk_size = chunk_size});
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(*results.Next(kLong), IsOkAndHolds(i * i));
    }
    EXPECT_THAT(*results.Next(kLong), StatusIs(absl::StatusCode::kUnknown,
                                               HasSubstr("thrown by item 3")));
    EXPECT_FALSE(results.Next(kLong).has_value());

    auto unordered = pool->ImapUnordered(Square, CountingRange(&read, 3),
                                         {.chunk_size = chunk_size});
    int values = 0;
    int errors = 0;
    while (auto result = unordered.Next(kLong)) {
      ++(result->ok() ? values : errors);
    }
    EXPECT_EQ(values, 3);
    EXPECT_EQ(errors, 1);
  }
}

// However many items its input has.
TEST_P(PoolInputTest, StreamOfAPoolThatIsClosedEnds) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  int read = 0;
  auto results = pool->Imap(Square, CountingRange(&read), {.buffer_size = 8});
  ASSERT_THAT(*results.Next(kLong), IsOkAndHolds(0));
  pool->Close();
  int values = 1;
  int refused = 0;
  while (const auto result = results.Next(kLong)) {
    if (result->ok()) {
      EXPECT_EQ(refused, 0);
      EXPECT_THAT(*result, IsOkAndHolds(values * values));
      ++values;
    } else {
      EXPECT_THAT(*result, StatusIs(absl::StatusCode::kFailedPrecondition));
      ASSERT_LE(++refused, 8);
    }
  }
  EXPECT_GE(refused, 1);
}

TEST_P(PoolInputTest, ItemThatCannotBeWrittenFailsAlone) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (const Trick trick : {Trick::kError, Trick::kThrow}) {
    std::vector<TrickyValue> values(4);
    values[1].at_encode = trick;
    EXPECT_THAT(pool->Map(Take, values).message(),
                HasSubstr("the arguments cannot be sent: "));
    const auto each = pool->MapEach(Take, values, {.chunk_size = 2});
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(each[i].ok(), i != 1) << i;
  }
}

TEST_P(PoolInputTest, StreamsAreBoundedWithChunksAndBuffersOfAnySize) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (const size_t buffer_size : {1, 3, 10}) {
    for (const size_t chunk_size : {1, 2, 20}) {
      const TaskOptions options = {.chunk_size = chunk_size,
                                   .buffer_size = buffer_size};
      int read = 0;
      auto ordered = pool->Imap(Square, CountingRange(&read), options);
      int unordered_read = 0;
      auto unordered =
          pool->ImapUnordered(Square, CountingRange(&unordered_read), options);
      EXPECT_EQ(read, 0) << "it is read by those who read results";
      for (int i = 0; i < 12; ++i) {
        EXPECT_THAT(*ordered.Next(kLong), IsOkAndHolds(i * i));
        EXPECT_LE(read, i + static_cast<int>(buffer_size));
        EXPECT_THAT(*unordered.Next(kLong), IsOk());
        EXPECT_LE(unordered_read, i + static_cast<int>(buffer_size));
      }
    }
  }
}

// Otherwise each result would be followed by a chunk of one item.
TEST_P(PoolInputTest, StreamsReadWholeChunksThoughTheirBufferIsFull) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  int read = 0;
  auto stream = pool->Imap(Square, CountingRange(&read),
                           {.chunk_size = 10, .buffer_size = 25});
  for (int i = 0; i < 50; ++i) {
    const auto result = stream.Next(kLong);
    ASSERT_TRUE(result.has_value());
    ASSERT_THAT(*result, IsOkAndHolds(i * i));
    EXPECT_EQ(read % 10, 0);
    EXPECT_LE(read, i + 25);
  }
}

TEST_P(PoolInputTest, StreamsRefuseSizesOfZeroOnce) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  int read = 0;
  for (const TaskOptions& options :
       {TaskOptions{.buffer_size = 0}, TaskOptions{.chunk_size = 0}}) {
    auto results = pool->Imap(Square, CountingRange(&read), options);
    EXPECT_THAT(*results.Next(kLong),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_FALSE(results.Next(kLong).has_value());
  }
  EXPECT_THAT(pool->Map(Square, std::vector<int>{1}, {.chunk_size = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(read, 0);
}

}  // namespace
}  // namespace mp
