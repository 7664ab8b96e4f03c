#ifndef MP_TESTING_SIGNAL_STORM_H_
#define MP_TESTING_SIGNAL_STORM_H_

#include <signal.h>

#include "absl/time/time.h"

namespace mp::testing {

// For as long as it lives, a timer sends this process a signal (SIGALRM) every
// `period`, whose handler makes no system call go on (no SA_RESTART): calls
// that wait fail with EINTR time and again.
//
// Threads: the signal goes to the main thread, or to any that does not block
// it. Fork:    the timer stays with the parent (man 2 setitimer).
class SignalStorm {
 public:
  explicit SignalStorm(absl::Duration period = absl::Microseconds(200));
  ~SignalStorm();
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

  // How many signals have come. Only one storm at a time is possible.
  int count() const;

 private:
  struct sigaction old_action_;
};

}  // namespace mp::testing

#endif  // MP_TESTING_SIGNAL_STORM_H_
