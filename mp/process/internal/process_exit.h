#ifndef MP_PROCESS_INTERNAL_PROCESS_EXIT_H_
#define MP_PROCESS_INTERNAL_PROCESS_EXIT_H_

#include "mp/base/fd.h"

// How a process ends.
namespace mp::internal {

// Sees to it that what this process has started is finished when it exits,
// first its children and then its fork server, and that a forked child, however
// it was forked, does not take them for its own.
void WatchExitAndForks();

// Makes a forked process write its exit code, as an int, to a pipe, so that it
// is known even if the process's parent dies before it can say it.
void ReportExitTo(Fd pipe);

// In a child that was forked, by this process or by the fork server, before
// anything else: whoever calls exit() there ends the child only. The exit
// handlers that it sets itself run, then it finishes what it has started,
// writes out stdio and is gone; the handlers that it inherited, which are the
// parent's business, do not run.
void BecomeForkedProcess();

// Ends a process of any start method, in the order of CPython's: its own exit
// handlers; finalizers of priority 0 and above; its children; the other
// finalizers; stdio.
[[noreturn]] void ExitProcess(int code);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PROCESS_EXIT_H_
