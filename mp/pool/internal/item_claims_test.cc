#include "mp/pool/internal/item_claims.h"

#include <cstdint>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp::internal {
namespace {

using ::testing::Eq;
using ::testing::Optional;

TEST(ItemClaimsTest, GivesThemOneAfterTheOther) {
  ItemClaims claims{};
  EXPECT_EQ(claims.Take(), std::nullopt);
  claims.Offer(2);
  EXPECT_THAT(claims.Take(), Optional(Eq(0u)));
  EXPECT_THAT(claims.Take(), Optional(Eq(1u)));
  EXPECT_EQ(claims.Take(), std::nullopt);
}

TEST(ItemClaimsTest, TakesBackNoneThatIsTaken) {
  ItemClaims claims{};
  claims.Offer(10);
  claims.Take();
  EXPECT_EQ(claims.TakeBack(8, 10), 8u);
  EXPECT_EQ(claims.TakeBack(0, 8), 1u);
  EXPECT_EQ(claims.TakeBack(0, 1), 1u);
  EXPECT_EQ(claims.Take(), std::nullopt);
}

TEST(ItemClaimsTest, TakesBackNothingOfWhatIsNotItsOwn) {
  ItemClaims claims{};
  claims.Offer(10);
  EXPECT_EQ(claims.TakeBack(0, 9), 9u);
  EXPECT_EQ(claims.TakeBack(0, 11), 11u);
  EXPECT_EQ(claims.TakeBack(10, 10), 10u);
}

TEST(ItemClaimsTest, EachGoesToOneEnd) {
  for (int round = 0; round < 2000; ++round) {
    constexpr uint32_t kItems = 100;
    ItemClaims claims{};
    claims.Offer(kItems);
    uint32_t taken = 0;
    std::thread worker([&] {
      while (const std::optional<uint32_t> item = claims.Take()) {
        ASSERT_EQ(*item, taken);
        ++taken;
      }
    });
    uint32_t end = kItems;
    for (uint32_t from = kItems; from > 0; from -= 10) {
      end = claims.TakeBack(from - 10, end);
    }
    worker.join();
    EXPECT_EQ(taken, end);
  }
}

}  // namespace
}  // namespace mp::internal
