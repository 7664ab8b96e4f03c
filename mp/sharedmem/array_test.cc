// Array and RawArray, with the tests of CPython's _TestArray and _TestHeap.

#include "mp/sharedmem/array.h"

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/raw_array.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::StartMethodTest;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

class ArrayTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ArrayTest, AllStartMethods);

const std::vector<int> kNumbers = {680, 626, 934, 821, 150,
                                   233, 548, 982, 714, 831};

std::vector<int> SumsOf(const std::vector<int>& numbers) {
  std::vector<int> sums(numbers.size());
  std::partial_sum(numbers.begin(), numbers.end(), sums.begin());
  return sums;
}

void SumUp(absl::Span<int> numbers) {
  std::partial_sum(numbers.begin(), numbers.end(), numbers.begin());
}

// CPython: test_array
TEST_P(ArrayTest, AChildChangesIt) {
  auto array = Array<int>::From(kNumbers).value();
  EXPECT_EQ(array.size(), kNumbers.size());
  EXPECT_THAT(array.Get(3), IsOkAndHolds(kNumbers[3]));
  EXPECT_THAT(array.Slice(2, 7),
              IsOkAndHolds(ElementsAre(934, 821, 150, 233, 548)));
  EXPECT_THAT(array.SetSlice(4, {1, 2, 3, 4}), IsOk());
  std::vector<int> numbers = kNumbers;
  for (int i = 4; i < 8; ++i) numbers[i] = i - 3;
  EXPECT_THAT(array.ToVector(), IsOkAndHolds(numbers));
  const auto child = +[](Array<int> array) { MP_CHECK_OK(array.With(SumUp)); };
  EXPECT_EQ(Run(child, array), 0);
  EXPECT_THAT(array.ToVector(), IsOkAndHolds(SumsOf(numbers)));
}

// CPython: test_rawarray
TEST_P(ArrayTest, AChildChangesARawOne) {
  const auto array = RawArray<int>::From(kNumbers).value();
  const auto child = +[](RawArray<int> array) { SumUp(array.span()); };
  EXPECT_EQ(Run(child, array), 0);
  EXPECT_EQ(std::vector<int>(array.begin(), array.end()), SumsOf(kNumbers));
}

TEST_P(ArrayTest, ALargeOneHasAFileOfItsOwn) {
  const testing::LeakCheck leak_check;
  constexpr size_t kSize = 1 << 20;
  auto array = Array<int>::Create(kSize).value();
  const auto child = +[](Array<int> array) {
    MP_CHECK_OK(array.Set(0, 1));
    MP_CHECK_OK(array.Set(array.size() - 1, 2));
  };
  EXPECT_EQ(Run(child, array), 0);
  EXPECT_THAT(array.Get(0), IsOkAndHolds(1));
  EXPECT_THAT(array.Get(1), IsOkAndHolds(0));
  EXPECT_THAT(array.Get(kSize - 1), IsOkAndHolds(2));
}

// CPython: test_array_from_size
TEST(ArrayHandleTest, OneFromASizeIsZeroAlsoInMemoryThatWasUsed) {
  for (const size_t size : {10, 1000, 100000}) {
    for (int i = 0; i < 3; ++i) {
      auto array = Array<int>::Create(size).value();
      ASSERT_THAT(array.ToVector(), IsOkAndHolds(Each(0))) << size;
      ASSERT_THAT(array.With([](absl::Span<int> all) {
        for (int& n : all) n = -1;
      }),
                  IsOk());
    }
  }
}

// CPython: test_getobj_getlock_obj
TEST(ArrayHandleTest, HasALockOfItsOwnOrAGivenOne) {
  auto own = Array<int>::Create(3).value();
  EXPECT_FALSE(own.get_lock().Locked());
  EXPECT_EQ(own.get_obj().size(), 3u);
  RLock lock = RLock::Create().value();
  EXPECT_EQ(Array<int>::CreateWith(lock, 3)->get_lock(), lock);
  Lock plain = Lock::Create().value();
  EXPECT_EQ((Array<int, Lock>::FromWith(plain, {1, 2})->get_lock()), plain);
}

TEST(ArrayHandleTest, KnowsItsBounds) {
  auto array = Array<int>::From(kNumbers).value();
  EXPECT_THAT(array.Get(10), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(array.Set(10, 0), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(array.SetSlice(9, {1, 2}),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(array.SetSlice(11, {}), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(array.SetSlice(10, {}), IsOk());
  EXPECT_THAT(array.ToVector(), IsOkAndHolds(kNumbers));
  EXPECT_DEATH(array.get_obj()[10], "index 10, the array has 10 elements");
}

TEST(ArrayHandleTest, Slices) {
  const auto array = RawArray<int>::From({0, 1, 2, 3, 4, 5}).value();
  EXPECT_THAT(array.Slice(1, 3), IsOkAndHolds(ElementsAre(1, 2)));
  EXPECT_THAT(array.Slice(0, 6, 2), IsOkAndHolds(ElementsAre(0, 2, 4)));
  EXPECT_THAT(array.Slice(1, SIZE_MAX, 4), IsOkAndHolds(ElementsAre(1, 5)));
  EXPECT_THAT(array.Slice(1, 6, SIZE_MAX), IsOkAndHolds(ElementsAre(1)));
  EXPECT_THAT(array.Slice(7, 9), IsOkAndHolds(ElementsAre()));
  EXPECT_THAT(array.Slice(4, 2), IsOkAndHolds(ElementsAre()));
  EXPECT_THAT(array.Slice(0, 1, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ArrayHandleTest, TextEndsAtANul) {
  auto text = Array<char>::Create(8).value();
  ASSERT_THAT(text.SetSlice(0, {'h', 'e', 'y'}), IsOk());
  EXPECT_THAT(text.Text(), IsOkAndHolds("hey"));
  EXPECT_THAT(text.Raw(), IsOkAndHolds(std::string("hey\0\0\0\0\0", 8)));
}

TEST(ArrayHandleTest, ACopyIsIndependent) {
  auto array = Array<int>::From(kNumbers).value();
  auto copy = array.Copy().value();
  ASSERT_THAT(array.Set(0, 0), IsOk());
  EXPECT_THAT(copy.ToVector(), IsOkAndHolds(kNumbers));
  EXPECT_NE(copy.get_lock(), array.get_lock());
}

TEST(ArrayHandleTest, RefusesWhatCannotBe) {
  EXPECT_THAT(Array<int>::Create(SIZE_MAX / 2),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Array<int>::Create(size_t{1} << 60), ::testing::Not(IsOk()));
  EXPECT_THAT(Array<int>::Create(0), IsOk());
}

TEST(ArrayHandleTest, AForgedCountIsRefused) {
  const auto array = RawArray<int>::Create(16).value();
  Encoder encoder;
  encoder.Write(array);
  Parcel parcel = std::move(encoder).Finish().value();
  parcel.bytes[0] = 100;  // elements
  Decoder decoder(std::move(parcel));
  EXPECT_THAT(decoder.Read<RawArray<int>>(),
              StatusIs(absl::StatusCode::kDataLoss));
}

// CPython: test_heap
TEST(ArrayHandleTest, ManyOfAllSizesComeAndGo) {
  const testing::LeakCheck leak_check;
  std::vector<RawArray<uint32_t>> arrays;
  uint32_t random = 1;
  for (int i = 0; i < 3000; ++i) {
    random = random * 1664525 + 1013904223;
    const size_t size = (random >> 8) % (1u << ((random >> 4) % 16)) + 1;
    arrays.push_back(RawArray<uint32_t>::Create(size).value());
    for (uint32_t& item : arrays.back()) {
      ASSERT_EQ(item, 0u);
      item = static_cast<uint32_t>(size);
    }
    if (arrays.size() > 50) {
      const size_t victim = random % arrays.size();
      for (uint32_t item : arrays[victim]) {
        ASSERT_EQ(item, arrays[victim].size());
      }
      arrays.erase(arrays.begin() + static_cast<ptrdiff_t>(victim));
    }
  }
}

}  // namespace
}  // namespace mp
