// Streams whose input has no end, is given up, or fails.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <limits>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/resident_memory.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::OpenPoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::ResidentBytes;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kBillion = 1'000'000'000;
constexpr size_t kBuffer = 32;

int64_t Negative(int64_t item) { return -item; }
int64_t SleepForEver(int64_t item) {
  while (true) absl::SleepFor(absl::Seconds(1));
  return item;
}
size_t Size(const std::string& text) { return text.size(); }

// The numbers below `end`, which notes how many of them have been read, throws
// instead of giving number `throw_at`, and takes its time for each.
class Generator {
 public:
  class Iterator {
   public:
    using value_type = int64_t;
    using difference_type = ptrdiff_t;

    Iterator(const Generator* generator, int64_t value)
        : generator_(generator), value_(value) {}
    int64_t operator*() const {
      if (value_ == generator_->throw_at_) {
        throw std::runtime_error(absl::StrCat("no number ", value_));
      }
      return value_;
    }
    Iterator& operator++() {
      absl::SleepFor(generator_->pause_);
      ++value_;
      ++*generator_->read_;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(const Iterator& other) const {
      return value_ == other.value_;
    }

   private:
    const Generator* generator_;
    int64_t value_;
  };

  explicit Generator(int64_t end, int64_t throw_at = -1,
                     absl::Duration pause = absl::ZeroDuration())
      : end_(end), throw_at_(throw_at), pause_(pause) {}

  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, end_}; }

  // How many all copies have given.
  std::shared_ptr<const int64_t> read() const { return read_; }

 private:
  const int64_t end_;
  const int64_t throw_at_;
  const absl::Duration pause_;  // before each further number
  std::shared_ptr<int64_t> read_ = std::make_shared<int64_t>(0);
};

class PoolStreamTest : public OpenPoolTestFixture {
 protected:
  PoolStreamTest() : OpenPoolTestFixture(/*processes=*/3, kLong) {}
};

class PoolStreamDeathTest : public PoolStreamTest {};

MP_INSTANTIATE_TEST_SUITE(PoolStreamTest, AllStartMethods);
MP_INSTANTIATE_TEST_SUITE(PoolStreamDeathTest, RealStartMethods);

TEST_P(PoolStreamTest, OfABillionOnlyWhatIsWantedIsRead) {
  const Generator numbers(kBillion);
  {
    auto stream = pool_->Imap(Negative, numbers, {.buffer_size = kBuffer});
    for (int64_t i = 0; i < 10; ++i) {
      const auto result = stream.Next(kLong);
      ASSERT_TRUE(result.has_value());
      EXPECT_THAT(*result, IsOkAndHolds(-i));
    }
    EXPECT_LE(*numbers.read(), 10 + static_cast<int64_t>(kBuffer));
  }
  const Generator again(kBillion);
  {
    auto stream = pool_->ImapUnordered(
        Negative, again, {.chunk_size = 4, .buffer_size = kBuffer});
    std::set<int64_t> seen;
    for (int i = 0; i < 10; ++i) {
      const auto result = stream.Next(kLong);
      ASSERT_TRUE(result.has_value());
      ASSERT_THAT(*result, IsOk());
      EXPECT_TRUE(seen.insert(**result).second) << **result << " twice";
    }
    EXPECT_LE(*again.read(), 10 + static_cast<int64_t>(kBuffer));
  }
  // Nothing is read once the streams are gone.
  EXPECT_LE(*numbers.read(), 10 + static_cast<int64_t>(kBuffer));
}

TEST_P(PoolStreamTest, TheDefaultBufferIsSmallToo) {
  const Generator numbers(kBillion);
  auto stream = pool_->Imap(Negative, numbers);
  EXPECT_EQ(*numbers.read(), 0);  // before anybody asks
  ASSERT_THAT(*stream.Next(kLong), IsOkAndHolds(0));
  EXPECT_LE(*numbers.read(), 1000);
}

TEST_P(PoolStreamTest, ALongRunNeedsNoMoreMemoryThanAShortOne) {
  const int results = Scaled(15'000, 1'000'000);
  const Generator numbers(kBillion);
  for (const StreamOrder order : {StreamOrder::kAsPut, StreamOrder::kAsDone}) {
    const TaskOptions options = {.chunk_size = 16, .buffer_size = 256};
    auto stream = order == StreamOrder::kAsPut
                      ? pool_->Imap(Negative, numbers, options)
                      : pool_->ImapUnordered(Negative, numbers, options);
    int64_t early = 0, sum = 0;
    for (int i = 0; i < results; ++i) {
      const auto result = stream.Next(kLong);
      ASSERT_TRUE(result.has_value());
      ASSERT_THAT(*result, IsOk());
      sum += **result;
      if (i == results / 10) early = ResidentBytes();
    }
    EXPECT_LT(sum, 0);
    if (testing::kKeepsFreedMemory) continue;
    constexpr int64_t kMargin = 2 << 20;  // of what the allocator may do
    EXPECT_LE(ResidentBytes(), early + kMargin);
  }
}

// Which would take for ever to fill the buffer.
TEST_P(PoolStreamDeathTest, ReadingASlowInputEndsWithTheTimeout) {
  auto stream = pool_->Imap(
      SleepForEver, Generator(kBillion, -1, absl::Milliseconds(200)),
      {.grace = absl::ZeroDuration(), .buffer_size = 1'000'000});
  EXPECT_THAT(*stream.Next(absl::Milliseconds(300)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_P(PoolStreamTest, AnyChunkSizeWillDo) {
  auto stream = pool_->Imap(Negative, Generator(3),
                            {.chunk_size = std::numeric_limits<size_t>::max()});
  for (int i = 0; i < 3; ++i)
    EXPECT_THAT(*stream.Next(kLong), IsOkAndHolds(-i));
  EXPECT_FALSE(stream.Next(kLong).has_value());
}

TEST_P(PoolStreamTest, DroppedWhileFullItLeavesNothing) {
  for (int i = 0; i < 20; ++i) {
    const Generator numbers(kBillion);
    auto stream = pool_->ImapUnordered(Negative, numbers,
                                       {.chunk_size = 3, .buffer_size = 1000});
    ASSERT_THAT(*stream.Next(kLong), IsOk());
    // Whole chunks, and no more than it waits for once there are results.
    EXPECT_LE(*numbers.read(), 999);
    EXPECT_EQ(*numbers.read() % 3, 0);
  }
}

TEST_P(PoolStreamTest, SeveralAtOnceDoNotMix) {
  std::vector<Generator> inputs;
  std::deque<ResultStream<int64_t>> streams;
  for (int i = 0; i < 5; ++i) {
    streams.push_back(pool_->Imap(Negative, Generator(100 + i)));
  }
  for (int64_t item = 0; item < 100; ++item) {
    for (auto& stream : streams) {
      ASSERT_THAT(*stream.Next(kLong), IsOkAndHolds(-item));
    }
  }
  for (int i = 0; i < 5; ++i) {
    for (int more = 0; more < i; ++more) {
      ASSERT_THAT(*streams[i].Next(kLong), IsOkAndHolds(-100 - more));
    }
    EXPECT_FALSE(streams[i].Next(kLong).has_value());
  }
}

TEST_P(PoolStreamTest, AnInputThatThrowsIsOneLastResult) {
  for (const int64_t throw_at : {0, 1, 17, 20}) {
    for (const size_t chunk : {1, 6}) {
      auto stream = pool_->Imap(Negative, Generator(kBillion, throw_at),
                                {.chunk_size = chunk});
      for (int64_t i = 0; i < throw_at; ++i) {
        ASSERT_THAT(*stream.Next(kLong), IsOkAndHolds(-i));
      }
      const auto last = stream.Next(kLong);
      ASSERT_TRUE(last.has_value());
      EXPECT_THAT(last->status().message(),
                  HasSubstr(absl::StrCat("no number ", throw_at)));
      EXPECT_FALSE(stream.Next(kLong).has_value());
      EXPECT_FALSE(stream.Next(kLong).has_value());
    }
  }
}

TEST_P(PoolStreamTest, AnInputMayEndAnywhere) {
  for (const int64_t end : {0, 1, 5, 6, 7, 64}) {
    for (const size_t chunk : {1, 6, 100}) {
      auto stream =
          pool_->ImapUnordered(Negative, Generator(end), {.chunk_size = chunk});
      std::set<int64_t> seen;
      while (const auto result = stream.Next(kLong)) {
        ASSERT_THAT(*result, IsOk());
        seen.insert(**result);
      }
      EXPECT_EQ(seen.size(), static_cast<size_t>(end));
      EXPECT_FALSE(stream.Next(kLong).has_value());
    }
  }
}

TEST_P(PoolStreamTest, ReadsContainersAndMovesWithItsInput) {
  auto sizes = pool_->Imap(Size, std::list<std::string>{"", "a", "bb"});
  ASSERT_THAT(*sizes.Next(kLong), IsOkAndHolds(0u));
  auto moved = std::move(sizes);
  ASSERT_THAT(*moved.Next(kLong), IsOkAndHolds(1u));
  ASSERT_THAT(*moved.Next(kLong), IsOkAndHolds(2u));
  EXPECT_FALSE(moved.Next(kLong).has_value());
}

TEST_P(PoolStreamTest, OutlivesItsPoolWithoutHarm) {
  std::optional<ResultStream<int64_t>> stream;
  {
    auto pool = MakePool();
    ASSERT_THAT(pool, IsOk());
    stream = pool->Imap(Negative, Generator(kBillion));
    ASSERT_THAT(*stream->Next(kLong), IsOkAndHolds(0));
  }
  // What was done is there, then there are errors, for as long as there is
  // input.
  std::optional<absl::StatusOr<int64_t>> result;
  for (int i = 0; i < 10'000 && (!result || result->ok()); ++i) {
    result = stream->Next(kLong);
    ASSERT_TRUE(result.has_value());
  }
  EXPECT_FALSE(result->ok());
}

TEST_P(PoolStreamDeathTest, DroppedWhileAllSleepForEverItLeavesThePoolUsable) {
  for (const size_t chunk : {1, 5}) {
    const TaskOptions options = {.chunk_size = chunk,
                                 .grace = absl::Milliseconds(1),
                                 .buffer_size = 100};
    auto stream = pool_->Imap(SleepForEver, Generator(kBillion), options);
    const auto none = stream.Next(absl::Milliseconds(20));
    ASSERT_TRUE(none.has_value());
    EXPECT_THAT(*none, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                HasSubstr("ResultStream::Next")));
  }
}

}  // namespace
}  // namespace mp
