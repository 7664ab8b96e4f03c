#ifndef MP_PROCESS_INTERNAL_THREAD_COUNT_H_
#define MP_PROCESS_INTERNAL_THREAD_COUNT_H_

#include "absl/status/statusor.h"

namespace mp::internal {

// Returns how many threads this process has, without one that Thread
// Sanitizer's runtime keeps for itself.
//
// Errors: those of stat(2); there may be no /proc.
// Source: man 5 proc: /proc/PID/task has as many links as folders in it.
absl::StatusOr<int> CountThreads();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_THREAD_COUNT_H_
