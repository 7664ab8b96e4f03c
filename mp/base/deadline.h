#ifndef MP_BASE_DEADLINE_H_
#define MP_BASE_DEADLINE_H_

#include <ctime>
#include <optional>

#include "absl/time/time.h"

namespace mp {

// A moment on the monotonic clock until which to wait, or none.
//
// Example:
//   const Deadline deadline(timeout);
//   while (!done && !deadline.Expired()) Park(deadline.Remaining());
//
// Units:  absl::Duration. An infinite timeout never expires; zero or a
//         negative one has expired at once, so the waiter only looks.
// Source: man 2 clock_gettime, CLOCK_MONOTONIC: steps of the wall clock do not
//         matter (CPython's semaphores use the wall clock).
class Deadline {
 public:
  explicit Deadline(absl::Duration timeout);

  // Returns the time left, never negative.
  absl::Duration Remaining() const;
  bool Expired() const { return Remaining() == absl::ZeroDuration(); }

  // Returns the time left as ppoll(2) and futex(2) want it: nullopt is for
  // ever.
  std::optional<timespec> RemainingTimespec() const;

 private:
  absl::Duration at_;  // since the start of the monotonic clock
};

}  // namespace mp

#endif  // MP_BASE_DEADLINE_H_
