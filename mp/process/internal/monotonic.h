#ifndef MP_PROCESS_INTERNAL_MONOTONIC_H_
#define MP_PROCESS_INTERNAL_MONOTONIC_H_

#include <ctime>

#include "absl/time/time.h"

namespace mp::internal {

// Returns the time since the start of the monotonic clock, which all processes
// of the machine share.
inline absl::Duration MonotonicNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_MONOTONIC_H_
