#include "mp/testing/signal_storm.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

#include "gtest/gtest.h"

namespace mp::testing {
namespace {

TEST(SignalStormTest, InterruptsSystemCalls) {
  const SignalStorm storm;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pause(), -1);
    EXPECT_EQ(errno, EINTR);
  }
  EXPECT_GE(storm.count(), 3);
}

TEST(SignalStormTest, IsOverAfterwards) {
  struct sigaction before, after;
  sigaction(SIGALRM, nullptr, &before);
  { const SignalStorm storm; }
  sigaction(SIGALRM, nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
  itimerval timer;
  getitimer(ITIMER_REAL, &timer);
  EXPECT_FALSE(timerisset(&timer.it_value));
}

}  // namespace
}  // namespace mp::testing
