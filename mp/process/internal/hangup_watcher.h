#ifndef MP_PROCESS_INTERNAL_HANGUP_WATCHER_H_
#define MP_PROCESS_INTERNAL_HANGUP_WATCHER_H_

#include "absl/status/status.h"

namespace mp::internal {

// Starts a thread that ends this process, as SIGKILL does, when the last
// writing end of the pipe that `line` reads from is closed. Once in a process.
//
// The thread is the kernel's only; the C library does not know of it. A library
// that knew would have it take every uid that the process takes, and abort if
// it cannot, as it has capabilities of its own. It
//  - has its own table of descriptors with only `line` in it, so that it is
//    neither disturbed by who closes descriptors nor keeps any open;
//  - blocks all signals;
//  - gives up all the rights that it can, so that it is of no use to somebody
//    who has got hold of a process that gave up its own.
//
// Errors: the thread cannot be had; for lack of memory, as a rule.
//
// Death:  the thread ends with the process, also by execve(2).
// Source: man 2 clone; man 7 credentials.
absl::Status EndAtHangup(int line);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_HANGUP_WATCHER_H_
