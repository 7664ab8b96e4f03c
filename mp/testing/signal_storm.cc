#include "mp/testing/signal_storm.h"

#include <signal.h>
#include <sys/time.h>

#include <atomic>

#include "absl/time/time.h"

namespace mp::testing {
namespace {

std::atomic<int> signals_seen = 0;

void Count(int /*signal*/) { ++signals_seen; }

void SetTimer(absl::Duration period) {
  const timeval interval = absl::ToTimeval(period);
  const itimerval timer = {interval, interval};
  setitimer(ITIMER_REAL, &timer, nullptr);
}

}  // namespace

SignalStorm::SignalStorm(absl::Duration period) {
  signals_seen = 0;
  struct sigaction action = {};
  action.sa_handler = Count;
  sigaction(SIGALRM, &action, &old_action_);
  SetTimer(period);
}

SignalStorm::~SignalStorm() {
  SetTimer(absl::ZeroDuration());
  sigaction(SIGALRM, &old_action_, nullptr);
}

int SignalStorm::count() const { return signals_seen; }

}  // namespace mp::testing
