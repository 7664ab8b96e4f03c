// Arguments and results that are large, many, or nothing.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"
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
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::ResidentBytes;
using ::mp::testing::Scaled;
using ::testing::IsEmpty;

constexpr int64_t kMiB = int64_t{1} << 20;

// What there may be more of than before: what the allocator has cut up.
constexpr int64_t kMargin = 24 * kMiB;

// Does something to each eight bytes of a text, and to what is left. (A loop
// over single bytes takes long where nothing is optimised.)
template <typename Change>
std::string Changed(std::string bytes, Change&& change) {
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const size_t size = std::min(sizeof(uint64_t), bytes.size() - i);
    uint64_t word = 0;
    std::memcpy(&word, &bytes[i], size);
    word = change(word);
    std::memcpy(&bytes[i], &word, size);
  }
  return bytes;
}

// No two seeds have the same bytes at the same places.
std::string Pattern(size_t size, uint64_t seed) {
  uint64_t state = seed * 2654435761u + 1;
  return Changed(std::string(size, '\0'), [&](uint64_t) {
    return state = state * 6364136223846793005u + 1442695040888963407u;
  });
}

std::string Inverted(std::string bytes) {
  return Changed(std::move(bytes), [](uint64_t word) { return ~word; });
}

size_t Hash(const std::string& bytes) {
  return std::hash<std::string>()(bytes);
}

std::string Echo(std::string bytes) { return bytes; }

int64_t ResidentHere() { return ResidentBytes(); }

class PoolLargeTest : public OpenPoolTestFixture {
 protected:
  PoolLargeTest() : OpenPoolTestFixture(/*processes=*/2, kLong) {}
};

MP_INSTANTIATE_TEST_SUITE(PoolLargeTest, AllStartMethods);

// Leaves a process little more address space than it has.
absl::Status LimitAddressSpace() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  const rlim_t bytes = pages * static_cast<rlim_t>(getpagesize()) + 64 * kMiB;
  const rlimit limit = {bytes, bytes};
  return setrlimit(RLIMIT_AS, &limit) == 0 ? absl::OkStatus()
                                           : absl::InternalError("setrlimit");
}

class PoolNarrowTest : public PoolTestFixture {
 protected:
  PoolNarrowTest() : PoolTestFixture(/*processes=*/2, kLong) {}
};

MP_INSTANTIATE_TEST_SUITE(PoolNarrowTest, RealStartMethods);

TEST_P(PoolNarrowTest, ArgumentThatNoWorkerHasRoomForFailsAlone) {
  if (kAddressSanitizer || kThreadSanitizer) {
    GTEST_SKIP() << "sanitizers need the address space";
  }
  auto pool = MakePool(
      {.processes = 2, .initializer = PoolInitializer(LimitAddressSpace)});
  ASSERT_THAT(pool, IsOk());
  std::vector<std::string> texts(20, std::string(100, 'x'));
  texts[7] = std::string(static_cast<size_t>(128 * kMiB), 'x');
  const auto hashes = pool->MapEach(Hash, texts, {.chunk_size = 1});
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i == 7) {
      EXPECT_FALSE(hashes[i].ok());
    } else {
      EXPECT_THAT(hashes[i], IsOkAndHolds(Hash(texts[i])));
    }
  }
  EXPECT_THAT(pool->Apply(Hash, texts[0]), IsOkAndHolds(Hash(texts[0])));
}

TEST_P(PoolLargeTest, HundredMebibytesGoAndComeBack) {
  const bool is_first = GetParam() == StartMethod::kForkServer;
  const auto size =
      static_cast<size_t>(Scaled(is_first ? 100 : 10, 100) * kMiB);
  const std::string bytes = Pattern(size, 1);
  const auto inverted = pool_->Apply(Inverted, bytes);
  ASSERT_THAT(inverted, IsOk());
  EXPECT_TRUE(*inverted == Inverted(bytes)) << "they differ";
  EXPECT_THAT(pool_->Apply(Hash, bytes), IsOkAndHolds(Hash(bytes)));
  const auto made = pool_->Apply(Pattern, size, uint64_t{1});
  ASSERT_THAT(made, IsOk());
  EXPECT_TRUE(*made == bytes) << "they differ";
}

// Around the places where another way to carry them may begin.
TEST_P(PoolLargeTest, AnySizeIsWholeInAnyOrder) {
  std::vector<std::string> texts = {"", "", "x"};
  for (size_t size = 64; size <= size_t{4} << 20; size *= 2) {
    for (const int more : {-1, 0, 1}) {
      texts.push_back(Pattern(size + more, size));
      texts.emplace_back();
    }
  }
  const auto in_chunks = pool_->Map(Inverted, texts, {.chunk_size = 5});
  const auto one_by_one = pool_->Map(Inverted, texts, {.chunk_size = 1});
  ASSERT_THAT(in_chunks, IsOk());
  ASSERT_THAT(one_by_one, IsOk());
  ASSERT_EQ(in_chunks->size(), texts.size());
  ASSERT_EQ(one_by_one->size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_TRUE((*in_chunks)[i] == Inverted(texts[i])) << texts[i].size();
    EXPECT_TRUE((*one_by_one)[i] == Inverted(texts[i])) << texts[i].size();
  }
}

TEST_P(PoolLargeTest, NothingTravelsToo) {
  EXPECT_THAT(pool_->Apply(Inverted, ""), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(pool_->Apply([] {}), IsOk());
  const auto none =
      pool_->Map(Inverted, std::vector<std::string>(1000), {.chunk_size = 1});
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(*none, std::vector<std::string>(1000));
}

TEST_P(PoolLargeTest, ThousandsOfMebibytesStreamInBoundedMemory) {
  const int count = Scaled(500, 20'000);
  struct Source {
    struct Iterator {
      int index;
      std::string operator*() const {
        return std::string(kMiB, static_cast<char>(index));
      }
      Iterator& operator++() {
        ++index;
        return *this;
      }
      bool operator==(const Iterator& other) const {
        return index == other.index;
      }
    };
    int count;
    Iterator begin() const { return {0}; }
    Iterator end() const { return {count}; }
  };
  const int64_t before = ResidentBytes();
  int64_t most = 0;
  auto stream = pool_->Imap(Echo, Source{count}, {.buffer_size = 16});
  for (int i = 0; i < count; ++i) {
    const auto result = stream.Next(kLong);
    ASSERT_TRUE(result.has_value());
    ASSERT_THAT(*result, IsOk());
    ASSERT_EQ((*result)->size(), static_cast<size_t>(kMiB));
    ASSERT_EQ((*result)->front(), static_cast<char>(i));
    ASSERT_EQ((*result)->back(), static_cast<char>(i));
    if (i % 100 == 99) most = std::max(most, ResidentBytes());
  }
  if (testing::kKeepsFreedMemory || GetParam() == StartMethod::kThread) return;
  // Each of the buffer may be here twice, as it goes and as it comes.
  EXPECT_LE(most, before + 2 * 16 * kMiB + kMargin);
}

class PoolLargeMemoryTest : public PoolLargeTest {};

MP_INSTANTIATE_TEST_SUITE(PoolLargeMemoryTest, RealStartMethods);

TEST_P(PoolLargeMemoryTest, NeitherSideKeepsWhatHasPassed) {
  if (testing::kKeepsFreedMemory) GTEST_SKIP() << "freed memory is kept";
  auto pool = Pool::Create({.processes = 1, .context = GetParam()});
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(pool->Apply(Inverted, std::string(kMiB, 'x')), IsOk());
  const int64_t ours = ResidentBytes();
  const auto theirs = pool->Apply(ResidentHere);
  ASSERT_THAT(theirs, IsOk());
  for (int i = 0; i < 3; ++i) {
    const auto large = pool->Apply(Inverted, std::string(100 * kMiB, 'x'));
    ASSERT_THAT(large, IsOk());
    ASSERT_EQ(large->size(), static_cast<size_t>(100 * kMiB));
  }
  const std::vector<std::string> many(100, std::string(kMiB, 'y'));
  ASSERT_THAT(pool->Map(Inverted, many, {.chunk_size = 3}), IsOk());
  const int64_t held = ResidentBytes();
  const auto held_there = pool->Apply(ResidentHere);
  ASSERT_THAT(held_there, IsOk());
  EXPECT_LE(held, ours + 100 * kMiB + kMargin);  // `many` is still here
  EXPECT_LE(*held_there, *theirs + kMargin);
}

}  // namespace
}  // namespace mp
