#include "mp/pool/internal/progress_meter.h"

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/progress.h"

namespace mp::internal {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class ProgressMeterTest : public ::testing::Test {
 protected:
  void Pass(absl::Duration duration) { now_ += duration; }

  // What it has told since the last time.
  std::vector<Progress> Told() { return std::exchange(told_, {}); }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::vector<Progress> told_;
  ProgressMeter meter_{[this](const Progress& p) { told_.push_back(p); }};
};

TEST_F(ProgressMeterTest, TellsNothingBeforeAnythingIsExpected) {
  EXPECT_EQ(meter_.NextTime(), absl::InfiniteFuture());
  meter_.OnTime(now_);
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(ProgressMeterTest, TellsTheBeginAtOnceAndTheRestAtIntervals) {
  meter_.Expect(1000, now_);
  EXPECT_EQ(meter_.NextTime(), now_);
  meter_.OnTime(now_);
  ASSERT_THAT(Told(), SizeIs(1));
  int told = 0;
  for (int i = 0; i < 999; ++i) {  // one each millisecond
    Pass(absl::Milliseconds(1));
    meter_.Settle(1, true, now_);
    meter_.OnTime(now_);
    told += static_cast<int>(Told().size());
  }
  EXPECT_EQ(told, 9);
}

TEST_F(ProgressMeterTest, TellsTheEndAtOnceAndOnce) {
  meter_.Expect(2, now_);
  meter_.OnTime(now_);
  Told();
  Pass(absl::Milliseconds(3));
  meter_.Settle(1, false, now_);
  EXPECT_THAT(Told(), IsEmpty());
  meter_.Settle(1, true, now_);
  const std::vector<Progress> told = Told();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_TRUE(told[0].finished);
  EXPECT_EQ(told[0].done, 2u);
  EXPECT_EQ(told[0].failed, 1u);
  EXPECT_EQ(told[0].total, 2u);
  EXPECT_EQ(told[0].elapsed, absl::Milliseconds(3));
  Pass(absl::Hours(1));
  meter_.OnTime(now_);
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_EQ(meter_.NextTime(), absl::InfiniteFuture());
}

TEST_F(ProgressMeterTest, BeginsAnew) {
  meter_.Expect(2, now_);
  meter_.Settle(2, false, now_);
  Pass(absl::Hours(1));
  meter_.Expect(1, now_);
  Told();
  meter_.Settle(1, true, now_);
  const std::vector<Progress> told = Told();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].done, 1u);
  EXPECT_EQ(told[0].failed, 0u);
  EXPECT_EQ(told[0].total, 1u);
  EXPECT_EQ(told[0].elapsed, absl::ZeroDuration());
}

TEST_F(ProgressMeterTest, AddsUpCallsAtTheSameTime) {
  meter_.Expect(2, now_);
  meter_.Settle(1, true, now_);
  meter_.Expect(3, now_);
  meter_.Settle(3, true, now_);
  EXPECT_THAT(Told(), IsEmpty());
  meter_.Settle(1, true, now_);
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_EQ(told_[0].total, 5u);
}

TEST_F(ProgressMeterTest, KnowsNoTotalWhileAnInputIsOpen) {
  meter_.OpenInput(now_);
  meter_.Expect(2, now_);
  meter_.Settle(2, true, now_);
  meter_.OnTime(now_);
  ASSERT_THAT(told_, SizeIs(1)) << "it has not ended";
  EXPECT_EQ(told_[0].total, std::nullopt);
  EXPECT_FALSE(told_[0].finished);
  meter_.CloseInput(now_);
  ASSERT_THAT(told_, SizeIs(2));
  EXPECT_EQ(told_[1].total, 2u);
  EXPECT_TRUE(told_[1].finished);
}

TEST_F(ProgressMeterTest, AnEmptyInputHasAnEnd) {
  meter_.OpenInput(now_);
  meter_.CloseInput(now_);
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_TRUE(told_[0].finished);
  EXPECT_EQ(told_[0].done, 0u);
}

TEST_F(ProgressMeterTest, SurvivesACallbackThatThrows) {
  int calls = 0;
  ProgressMeter meter([&](const Progress&) {
    ++calls;
    throw std::runtime_error("no display");
  });
  meter.Expect(1, now_);
  meter.OnTime(now_);
  meter.Settle(1, true, now_);
  EXPECT_EQ(calls, 2);
}

TEST_F(ProgressMeterTest, ACallbackMayHaveMoreDone) {
  std::vector<bool> ends;
  ProgressMeter* self = nullptr;
  ProgressMeter meter([&](const Progress& progress) {
    ends.push_back(progress.finished);
    if (ends.size() == 1) {
      self->Expect(1, now_);
      self->Settle(1, false, now_);
    }
  });
  self = &meter;
  meter.Expect(1, now_);
  meter.Settle(1, true, now_);
  EXPECT_THAT(ends, testing::ElementsAre(true, true));
}

TEST(ProgressTest, EstimatesTheTimeLeft) {
  Progress progress{.done = 0,
                    .failed = 0,
                    .total = 100,
                    .elapsed = absl::Seconds(10),
                    .finished = false};
  EXPECT_EQ(progress.time_left(), std::nullopt);
  progress.done = 25;
  EXPECT_EQ(progress.time_left(), absl::Seconds(30));
  EXPECT_DOUBLE_EQ(progress.rate(), 2.5);
  progress.total = std::nullopt;
  EXPECT_EQ(progress.time_left(), std::nullopt);
}

}  // namespace
}  // namespace mp::internal
