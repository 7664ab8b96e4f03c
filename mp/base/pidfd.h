#ifndef MP_BASE_PIDFD_H_
#define MP_BASE_PIDFD_H_

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"

namespace mp {

// Opens a descriptor that stands for one process and never for a later one with
// the same pid. It becomes readable when the process ends.
//
// `pid` must be a child that nobody has waited for, or one whose life the
// caller otherwise knows of: else it may be a stranger by now.
//
// Errors:
//   kNotFound  there is no such process.
// Source: man 2 pidfd_open (Linux 5.3).
absl::StatusOr<Fd> OpenPidfd(pid_t pid);

// Sends a signal. Returns kNotFound if the process has ended and been reaped.
//
// Source: man 2 pidfd_send_signal (Linux 5.1).
absl::Status SendSignal(const Fd& pidfd, int signal);

// Reaps the child if it has ended: its exit code, or -N if signal N killed it.
// Returns nullopt while it runs. Never blocks.
//
// Errors:
//   kNotFound  it is no child of this process, or another wait took it.
// Source: man 2 waitid, P_PIDFD (Linux 5.4).
absl::StatusOr<std::optional<int>> ReapChild(const Fd& pidfd);

// The same, with all that the kernel tells of the child's life.
struct ReapedChild {
  int exit_code;  // or -N
  bool core_dumped;
  // What it used, and the children that it has waited for. Units as in
  // man 2 getrusage: ru_maxrss in KiB.
  rusage usage;
};
// Source: the kernel's waitid(2) has a fifth argument that the C library's has
// not.
absl::StatusOr<std::optional<ReapedChild>> ReapChildWithUsage(const Fd& pidfd);

}  // namespace mp

#endif  // MP_BASE_PIDFD_H_
