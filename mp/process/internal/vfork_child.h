#ifndef MP_PROCESS_INTERNAL_VFORK_CHILD_H_
#define MP_PROCESS_INTERNAL_VFORK_CHILD_H_

#include <sys/types.h>

#include <cstddef>

// A child that is about to execute a program, and until then runs in the memory
// of its parent, which is suspended: fast however large the parent is.
//
// What runs there makes system calls only, by syscall(2): no libc that keeps
// state, no allocation, no sanitizer. It is marked with this.
#define MP_IN_VFORKED_CHILD \
  __attribute__((no_sanitize("address", "thread", "undefined")))

namespace mp::internal {

// Runs `body` in such a child and waits until it has executed or ended. Returns
// the child's pid, or -1 and errno; `pidfd` is set to its pidfd.
//
// The child begins with all signals blocked, as a handler that ran there would
// run in the memory of the parent.
//
// Source: man 2 clone, CLONE_VM | CLONE_VFORK | CLONE_PIDFD (Linux 5.2).
pid_t RunInVforkedChild(int (*body)(void*), void* argument, int& pidfd);

// For `body`:

// Sets caught signals to their default, so that none of the parent's handlers
// can run.
void ResetHandlers();

// Sets one signal to its default, ignored or not.
void ResetSignal(int signal);

// Unblocks all signals, so that the child can be ended. Handlers must have been
// reset before.
void UnblockAllSignals();

// Closes all descriptors from 3 on but those in `keep`, which are sorted and 3
// or above.
void CloseAllBut(const int* keep, size_t count);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_VFORK_CHILD_H_
