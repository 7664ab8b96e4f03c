#ifndef MP_PROCESS_INTERNAL_PROCESS_TREE_H_
#define MP_PROCESS_INTERNAL_PROCESS_TREE_H_

#include <sys/types.h>

#include "absl/status/status.h"
#include "mp/base/fd.h"

namespace mp::internal {

// A child process and all that came of it.
struct ProcessTree {
  pid_t root;
  Fd pidfd;           // of the root
  bool owns_group;    // the root made a process group of its own,
  bool owns_session;  // or a session
};

// Kills the tree, and waits until all of it has ended. It is made to stand
// still first, from the root downwards, so that nothing is born meanwhile and
// nobody's parent ends before its children are known.
//
// The tree is the root, its children, their children and so on, in whatever
// group or session they are; and all of the root's own group or session. So
// what is missed is who left both: an orphan in a session that it made itself.
//
// The root is not reaped, and must not be by others meanwhile.
//
// Errors:
//   kPermissionDenied    one that has another user; all others are killed.
//   kFailedPrecondition  the root has been reaped; or /proc is missing, or that
//                        of another PID namespace: only the root is killed.
//   kResourceExhausted   too few descriptors: what was found is killed.
//   kDeadlineExceeded    one has not ended in 10 s, being in the kernel.
// Source: man 5 proc, /proc/PID/stat; man 2 pidfd_send_signal.
absl::Status KillTree(const ProcessTree& tree);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PROCESS_TREE_H_
