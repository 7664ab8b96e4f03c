#ifndef MP_PROCESS_INTERNAL_LIFE_LINE_H_
#define MP_PROCESS_INTERNAL_LIFE_LINE_H_

#include "absl/status/statusor.h"
#include "mp/base/fd.h"

// What ends a process when another one has ended.
namespace mp::internal {

// Has this process killed, by SIGKILL, when the last writing end of a pipe is
// closed, be it already. `line` is a reading end, which nobody reads; returns
// the one to keep open in its place. Call it before the process has threads.
//
// The kernel itself does it, with no thread's help, whatever this process is
// doing: spinning, stopped, or without its first thread. Where the kernel might
// not, a thread watches too; see hangup_watcher.h:
//  - This process may still take a uid that the kernel does not let the signal
//    through to. That of root, outside user namespaces, it always lets through.
//  - It is process 1 of a PID namespace, for which such signals do not count.
//  - The pipe cannot be opened anew: there is no /proc, say.
//
// Errors: none of that can be had; for lack of memory, as a rule.
//
// Death:  without such a thread, the tie is undone by whatever closes the
//         returned descriptor: closefrom(3), and execve(2).
// Source: man 2 fcntl, F_SETSIG. Not PR_SET_PDEATHSIG: it goes by the thread
//         that started the child, and is lost when the child changes its uid.
absl::StatusOr<Fd> TieLifeTo(Fd line);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_LIFE_LINE_H_
