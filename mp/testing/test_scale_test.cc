#include "mp/testing/test_scale.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"

namespace mp::testing {
namespace {

using ::testing::AnyOf;

constexpr int kDivisor = kAddressSanitizer || kThreadSanitizer ? 10 : 1;

TEST(TestScaleTest, FullTestDoesMore) {
  setenv("MP_TEST_FULL", "1", /*replace=*/1);
  EXPECT_TRUE(IsFullTest());
  EXPECT_EQ(Scaled(200, 2000), 2000 / kDivisor);
  unsetenv("MP_TEST_FULL");
  EXPECT_FALSE(IsFullTest());
  EXPECT_EQ(Scaled(200, 2000), 200 / kDivisor);
}

TEST(TestScaleTest, SomethingIsAlwaysDone) {
  EXPECT_EQ(Scaled(1, 1), 1);
  EXPECT_THAT(Scaled(3, 3), AnyOf(1, 3));
}

TEST(TestScaleTest, SeedIsOneInAProcess) {
  setenv("MP_TEST_SEED", "7", /*replace=*/1);
  EXPECT_EQ(TestSeed(), 7);
  setenv("MP_TEST_SEED", "8", /*replace=*/1);
  EXPECT_EQ(TestSeed(), 7);
}

}  // namespace
}  // namespace mp::testing
