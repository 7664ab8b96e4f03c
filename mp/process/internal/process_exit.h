#ifndef MP_PROCESS_INTERNAL_PROCESS_EXIT_H_
#define MP_PROCESS_INTERNAL_PROCESS_EXIT_H_

#include "mp/base/fd.h"

// How a process ends.
namespace mp::internal {

// Sees to it that what this process has started is finished when it exits,
// first its children and then its fork server, and that a forked child, however
// it was forked, does not take them for its own.
void WatchExitAndForks();

// Makes ExitForked() write the exit code, as an int, to a pipe, so that it is
// known even if the process's parent dies before it can say it.
void ReportExitTo(Fd pipe);

// Ends a process that began with a fork, of this process or of the fork server:
// waits for its children, writes out stdio and exits. The exit handlers of the
// program are not its own and do not run.
[[noreturn]] void ExitForked(int code);

// Ends a process that is a whole program: the same, with its exit handlers.
[[noreturn]] void ExitProgram(int code);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PROCESS_EXIT_H_
