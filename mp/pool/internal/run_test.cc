#include "mp/pool/internal/run.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/item_ranges.h"

namespace mp::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RunTest, IsOverWhenAllAreDone) {
  mp::internal::Run run(1, 2, {10, 12});
  EXPECT_TRUE(run.IsDone(9));
  EXPECT_TRUE(run.IsDone(12));
  EXPECT_FALSE(run.IsDone(10));
  run.MarkDone(10);
  EXPECT_TRUE(run.IsDone(10));
  EXPECT_FALSE(run.is_over());
  run.MarkDone(11);
  EXPECT_TRUE(run.is_over());
  EXPECT_THAT(run.Left().ranges(), IsEmpty());
}

TEST(RunTest, KnowsWhatIsLeftBesideThoseDoneBeforeTheirTurn) {
  mp::internal::Run run(1, 2, {0, 6});
  run.MarkDone(1);
  run.MarkDone(4);
  EXPECT_TRUE(run.IsDone(4));
  EXPECT_THAT(run.Left().ranges(),
              ElementsAre(ItemRange{0, 1}, ItemRange{2, 4}, ItemRange{5, 6}));
  run.MarkDone(0);
  EXPECT_EQ(run.next(), 2u);
  EXPECT_EQ(run.TakeLast(100), (ItemRange{5, 6}));
  EXPECT_THAT(run.Left().ranges(), ElementsAre(ItemRange{2, 4}));
  run.MarkDone(3);
  run.MarkDone(2);
  EXPECT_TRUE(run.is_over());
}

TEST(RunTest, TakesManyThatAreDoneAtOnceIfTheyAreTheNext) {
  mp::internal::Run run(1, 2, {0, 10});
  EXPECT_FALSE(run.MarkNextDone(1, 2));
  EXPECT_FALSE(run.MarkNextDone(0, 11));
  EXPECT_TRUE(run.MarkNextDone(0, 4));
  EXPECT_EQ(run.next(), 4u);
  run.MarkDone(6);
  EXPECT_FALSE(run.MarkNextDone(4, 2));
  run.MarkDone(4);
  run.MarkDone(5);
  EXPECT_TRUE(run.MarkNextDone(7, 3));
  EXPECT_TRUE(run.is_over());
}

TEST(RunTest, GivesUpItsLast) {
  mp::internal::Run run(1, 2, {0, 10});
  run.MarkDone(0);
  EXPECT_EQ(run.TakeLast(3), (ItemRange{7, 10}));
  EXPECT_TRUE(run.IsDone(8));
  EXPECT_THAT(run.Left().ranges(), ElementsAre(ItemRange{1, 7}));
  EXPECT_EQ(run.TakeLast(6), (ItemRange{1, 7}));
  EXPECT_TRUE(run.is_over());
}

}  // namespace
}  // namespace mp::internal
