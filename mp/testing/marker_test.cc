#include "mp/testing/marker.h"

#include <fcntl.h>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

class MarkerTest : public ::testing::Test {
 protected:
  LeakCheck leak_check_;
  Marker marker_ = *Marker::Create();
};

TEST_F(MarkerTest, EachSignalLetsOneAwaitPass) {
  EXPECT_THAT(marker_.Signal(), IsOk());
  EXPECT_THAT(marker_.Signal(), IsOk());
  EXPECT_THAT(marker_.Await(), IsOk());
  EXPECT_THAT(marker_.Await(), IsOk());
  EXPECT_THAT(marker_.Await(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(MarkerTest, AwaitTakesItsTime) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(marker_.Await(absl::Milliseconds(30)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

TEST_F(MarkerTest, SignalsBothWaysAcrossFork) {
  Marker answer = *Marker::Create();
  Child child = RunInChild([&] {
    EXPECT_THAT(marker_.Await(), IsOk());
    return answer.Signal();
  });
  EXPECT_THAT(answer.Await(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(marker_.Signal(), IsOk());
  EXPECT_THAT(answer.Await(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(MarkerTest, IsCloseOnExec) {
  EXPECT_EQ(fcntl(marker_.reader().get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(marker_.writer().get(), F_GETFD), FD_CLOEXEC);
}

}  // namespace
}  // namespace mp::testing
