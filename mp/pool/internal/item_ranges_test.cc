#include "mp/pool/internal/item_ranges.h"

#include <cstdint>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp::internal {
namespace {

using ::testing::ElementsAre;

TEST(ItemRangesTest, JoinsThoseThatTouch) {
  ItemRanges ranges;
  ranges.Add({10, 20});
  ranges.Add({30, 40});
  ranges.Add({0, 5});
  ranges.Add({7, 7});
  EXPECT_THAT(ranges.ranges(), ElementsAre(ItemRange{0, 5}, ItemRange{10, 20},
                                           ItemRange{30, 40}));
  ranges.Add({20, 30});
  EXPECT_THAT(ranges.ranges(), ElementsAre(ItemRange{0, 5}, ItemRange{10, 40}));
  ranges.Add({5, 6});
  ranges.Add({9, 10});
  EXPECT_THAT(ranges.ranges(), ElementsAre(ItemRange{0, 6}, ItemRange{9, 40}));
  EXPECT_EQ(ranges.size(), 37u);
}

TEST(ItemRangesTest, TakesNoMoreThanOneRangeHas) {
  ItemRanges ranges;
  ranges.Add({2, 5});
  ranges.Add({8, 9});
  EXPECT_EQ(ranges.TakeFirst(2), (ItemRange{2, 4}));
  EXPECT_EQ(ranges.TakeFirst(2), (ItemRange{4, 5}));
  EXPECT_EQ(ranges.TakeFirst(100), (ItemRange{8, 9}));
  EXPECT_TRUE(ranges.empty());
}

TEST(ItemRangesTest, HoldsWhatASetWouldHold) {
  std::minstd_rand random(7);
  ItemRanges ranges;
  std::set<uint64_t> items;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t first = random() % 100;
    const uint64_t end = first + random() % 4;
    const auto there = items.lower_bound(first);
    if (there == items.end() || *there >= end) {
      ranges.Add({first, end});
      for (uint64_t item = first; item < end; ++item) items.insert(item);
    }
    if (random() % 2 == 0 && !ranges.empty()) {
      const ItemRange taken = ranges.TakeFirst(1 + random() % 5);
      for (uint64_t item = taken.first; item < taken.end; ++item) {
        ASSERT_EQ(*items.begin(), item);
        items.erase(item);
      }
    }
    ASSERT_EQ(ranges.size(), items.size());
    ASSERT_EQ(ranges.empty(), items.empty());
  }
}

}  // namespace
}  // namespace mp::internal
