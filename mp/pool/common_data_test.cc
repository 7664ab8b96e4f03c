#include "mp/pool/common_data.h"

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/memfd.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/bind.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/sharedmem/raw_value.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {

struct Table {
  std::vector<int> squares;
};

// How often one was decoded, by all workers of a test together, each of which
// may be a thread.
RawValue<std::atomic<int>>& Decodings() {
  static thread_local RawValue<std::atomic<int>> counter;
  return counter;
}
void CountDecodings(RawValue<std::atomic<int>> counter) {
  Decodings() = std::move(counter);
}

template <>
struct Serializer<Table> {
  static void Encode(const Table& table, Encoder& encoder) {
    encoder.Write(table.squares);
  }
  static absl::StatusOr<Table> Decode(Decoder& decoder) {
    if (Decodings()) ++*Decodings();
    MP_ASSIGN_OR_RETURN(std::vector<int> squares,
                        decoder.Read<std::vector<int>>());
    return Table{std::move(squares)};
  }
};

namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::kLong;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int kWorkers = 3;
constexpr int kEntries = 1'000'000;

int Lookup(const CommonData<Table>& table, int index) {
  return table->squares[static_cast<size_t>(index)];
}
int LookupPair(const CommonData<Table>& a, const CommonData<Table>& b,
               int index) {
  return a->squares[static_cast<size_t>(index)] +
         b->squares[static_cast<size_t>(index)];
}

std::vector<int> Squares(int count, int factor = 1) {
  std::vector<int> squares;
  for (int i = 0; i < count; ++i) {
    squares.push_back(static_cast<int>(int64_t{i} * i * factor % 1'000'003));
  }
  return squares;
}

class CommonDataTest : public PoolTestFixture {
 protected:
  CommonDataTest() : PoolTestFixture(kWorkers, kLong) {}

  void SetUp() override {
    auto counter = RawValue<std::atomic<int>>::Create();
    ASSERT_THAT(counter, IsOk());
    counter_ = *counter;
    CountDecodings(counter_);
    PoolTestFixture::SetUp();
  }

  absl::StatusOr<Pool> MakePool() {
    return PoolTestFixture::MakePool(
        {.initializer = PoolInitializer(CountDecodings, counter_)});
  }

  static absl::StatusOr<CommonData<Table>> MakeTable(int factor = 1) {
    return CommonData<Table>::Create({Squares(kEntries, factor)});
  }

  // How often a worker may decode a table that it is told of.
  int most_decodings() const {
    return GetParam() == StartMethod::kThread ? 0 : kWorkers;
  }

  RawValue<std::atomic<int>> counter_;
};

MP_INSTANTIATE_TEST_SUITE(CommonDataTest, AllStartMethods);

TEST_P(CommonDataTest, EachWorkerDecodesItOnceForManyMaps) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto table = MakeTable();
  ASSERT_THAT(table, IsOk());
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(pool->Map(Bind(Lookup, *table), Numbers(20), {.chunk_size = 3}),
                IsOkAndHolds(Squares(20)));
  }
  EXPECT_LE(*counter_, most_decodings());
}

TEST_P(CommonDataTest, IsAnArgumentOfEachItemTooAndStillDecodedOnce) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto table = MakeTable();
  ASSERT_THAT(table, IsOk());
  std::vector<std::tuple<CommonData<Table>, int>> items;
  for (const int i : Numbers(1000)) items.emplace_back(*table, i);
  for (const size_t chunk : {1, 500}) {
    EXPECT_THAT(pool->StarMap(Lookup, items, {.chunk_size = chunk}),
                IsOkAndHolds(Squares(1000)));
  }
  EXPECT_LE(*counter_, most_decodings());
}

TEST_P(CommonDataTest, SeveralDoNotMix) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const auto one = MakeTable(1), three = MakeTable(3);
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(three, IsOk());
  for (const int i : Numbers(50)) {
    EXPECT_THAT(pool->Apply(LookupPair, *one, *three, i),
                IsOkAndHolds(4 * i * i));
    EXPECT_THAT(pool->Apply(LookupPair, *three, *three, i),
                IsOkAndHolds(6 * i * i));
  }
  EXPECT_LE(*counter_, 2 * most_decodings());
}

TEST_P(CommonDataTest, TravelsInAnInitializerAndBack) {
  const auto table = MakeTable();
  ASSERT_THAT(table, IsOk());
  static CommonData<Table>* kept = nullptr;
  auto pool = Pool::Create({.processes = 2,
                            .context = GetParam(),
                            .initializer = PoolInitializer(
                                [](const CommonData<Table>& t) {
                                  static CommonData<Table> mine;
                                  mine = t;
                                  kept = &mine;
                                },
                                *table)});
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Apply([](int i) { return (*kept)->squares[i]; }, 9),
              IsOkAndHolds(81));
  const auto back =
      pool->Apply([](const CommonData<Table>& t) { return t; }, *table);
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->get(), table->get());  // ours, not another one
  if (kept != nullptr) *kept = {};       // with threads, it is in this process
}

TEST_P(CommonDataTest, ManyComeAndGo) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (int factor = 1; factor <= 30; ++factor) {
    const auto table = CommonData<Table>::Create({Squares(1000, factor)});
    ASSERT_THAT(table, IsOk());
    EXPECT_THAT(pool->Map(Bind(Lookup, *table), Numbers(10)),
                IsOkAndHolds(Squares(10, factor)));
  }
}

TEST(CommonDataValueTest, IsAHandle) {
  const auto data = CommonData<std::string>::Create("shared");
  ASSERT_THAT(data, IsOk());
  const CommonData<std::string> copy = *data;
  EXPECT_EQ(copy.get(), data->get());
  EXPECT_EQ(*copy, "shared");
  EXPECT_EQ(copy->size(), 6u);
  EXPECT_GE(copy.size_bytes(), 6u);
}

TEST(CommonDataValueTest, EmptyOneIsNullAndDoesNotTravel) {
  const CommonData<int> empty;
  EXPECT_FALSE(empty);
  EXPECT_EQ(empty.get(), nullptr);
  EXPECT_EQ(empty.size_bytes(), 0u);
  Encoder encoder;
  encoder.Write(empty);
  EXPECT_THAT(std::move(encoder).Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(CommonDataValueTest, RefusesDescriptors) {
  const auto value = RawValue<int>::Create(1);
  ASSERT_THAT(value, IsOk());
  EXPECT_THAT(
      CommonData<RawValue<int>>::Create(*value),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("descriptors")));
}

// A message whose bytes and file are given.
template <typename T>
absl::StatusOr<CommonData<T>> Receive(std::string bytes,
                                      absl::StatusOr<Fd> file) {
  MP_RETURN_IF_ERROR(file.status());
  Parcel parcel{std::move(bytes), {}};
  parcel.handles.push_back(*std::move(file));
  Decoder decoder(std::move(parcel));
  return decoder.Read<CommonData<T>>();
}

TEST(CommonDataValueTest, DoesNotTrustWhatItIsSent) {
  const std::string first(2, '\0'), third(1, '\2');
  const auto sealed = [](const char* contents) {
    return CreateSealedMemfd("test", contents);
  };
  using Text = std::string;
  EXPECT_THAT(Receive<Text>(first, sealed("\3abc")), IsOk());
  const LeakCheck leak_check;  // of those that are refused
  EXPECT_THAT(Receive<Text>(first, sealed("\4abc")),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Receive<Text>(first, sealed("\2abc")),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Receive<Text>(first, sealed("")),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Receive<Text>(third, sealed("\3abc")),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Receive<Text>(first, Fd::DupOf(STDERR_FILENO)),
              StatusIs(absl::StatusCode::kDataLoss));
}

// The same file, taken for something else, is decoded as that.
TEST(CommonDataValueTest, AnotherTypeIsAnotherObject) {
  const auto text = CommonData<std::string>::Create("abc");
  ASSERT_THAT(text, IsOk());
  Encoder encoder;
  encoder.Write(*text);
  encoder.Write(*text);
  auto parcel = std::move(encoder).Finish();
  ASSERT_THAT(parcel, IsOk());
  EXPECT_EQ(parcel->handles.size(), 1u);
  Decoder decoder(*std::move(parcel));
  const auto bytes = decoder.Read<CommonData<std::vector<char>>>();
  ASSERT_THAT(bytes, IsOk());
  EXPECT_EQ(**bytes, (std::vector<char>{'a', 'b', 'c'}));
  const auto again = decoder.Read<CommonData<std::string>>();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->get(), text->get());
}

}  // namespace
}  // namespace mp
