#include "mp/base/deadline.h"

#include <ctime>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::Le;

TEST(DeadlineTest, InfiniteNeverExpires) {
  const Deadline deadline(absl::InfiniteDuration());
  EXPECT_FALSE(deadline.Expired());
  EXPECT_EQ(deadline.Remaining(), absl::InfiniteDuration());
  EXPECT_FALSE(deadline.RemainingTimespec().has_value());
}

TEST(DeadlineTest, ZeroAndLessHaveExpired) {
  for (const absl::Duration timeout :
       {absl::ZeroDuration(), absl::Nanoseconds(-1), absl::Hours(-1000000),
        -absl::InfiniteDuration()}) {
    const Deadline deadline(timeout);
    EXPECT_TRUE(deadline.Expired()) << timeout;
    EXPECT_EQ(deadline.Remaining(), absl::ZeroDuration()) << timeout;
    const std::optional<timespec> left = deadline.RemainingTimespec();
    ASSERT_TRUE(left.has_value()) << timeout;
    EXPECT_EQ(left->tv_sec, 0) << timeout;
    EXPECT_EQ(left->tv_nsec, 0) << timeout;
  }
}

TEST(DeadlineTest, CountsDown) {
  const Deadline deadline(absl::Hours(1));
  EXPECT_FALSE(deadline.Expired());
  const absl::Duration first = deadline.Remaining();
  EXPECT_THAT(first, AllOf(Gt(absl::Minutes(59)), Le(absl::Hours(1))));
  EXPECT_LE(deadline.Remaining(), first);
  EXPECT_LE(absl::DurationFromTimespec(*deadline.RemainingTimespec()), first);
}

TEST(DeadlineTest, DoesNotExpireBeforeItsTime) {
  timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  const Deadline deadline(absl::Milliseconds(20));
  while (!deadline.Expired()) absl::SleepFor(absl::Milliseconds(1));
  clock_gettime(CLOCK_MONOTONIC, &end);
  EXPECT_GE(absl::DurationFromTimespec(end) - absl::DurationFromTimespec(start),
            absl::Milliseconds(20));
}

TEST(DeadlineTest, AcceptsTimeoutsBeyondTheClock) {
  const Deadline deadline(absl::Seconds(9e18));
  EXPECT_FALSE(deadline.Expired());
  EXPECT_GT(deadline.Remaining(), absl::Hours(1e9));
}

}  // namespace
}  // namespace mp
