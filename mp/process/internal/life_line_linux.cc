#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/hangup_watcher.h"
#include "mp/process/internal/life_line.h"

namespace mp::internal {
namespace {

[[noreturn]] void EndNow() {
  kill(getpid(), SIGKILL);
  // Process 1 of a PID namespace does not hear itself (man 7 pid_namespaces).
  _exit(128 + SIGKILL);
}

// Has the kernel send SIGKILL when the pipe's other end is closed. The owner of
// such a signal belongs to the open file, and other children share this one, so
// it is opened anew.
absl::StatusOr<Fd> Arm(int line) {
  const std::string path = absl::StrCat("/proc/self/fd/", line);
  Fd own(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!own.is_open()) return ErrnoStatus(errno, path);
  if (fcntl(own.get(), F_SETSIG, SIGKILL) != 0 ||
      fcntl(own.get(), F_SETOWN, getpid()) != 0 ||
      fcntl(own.get(), F_SETFL, O_ASYNC | O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "fcntl(O_ASYNC)");
  }
  return own;
}

// Whether user 0 here is user 0 of the machine. Only a namespace that is all of
// it has a map this long (man 7 user_namespaces).
bool UidsAreThoseOfTheMachine() {
  std::ifstream map("/proc/self/uid_map");
  uint64_t here = 1;
  uint64_t there = 1;
  uint64_t count = 0;
  map >> here >> there >> count;
  return here == 0 && there == 0 && count == UINT32_MAX;
}

bool MayTakeAnyUid() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) return true;
  return (data[0].permitted & (1U << CAP_SETUID)) != 0;
}

// Whether the kernel will send the signal, whatever uids this process takes.
// What counts is the real and the effective one of now: the latter is root, or
// one of them is the real or the saved one of then (kernel fs/fcntl.c,
// sigio_perm()).
bool SignalWillBeAllowed() {
  uid_t real;
  uid_t effective;
  uid_t saved;
  if (getresuid(&real, &effective, &saved) != 0) return false;
  if (effective == 0 && UidsAreThoseOfTheMachine()) return true;
  return (saved == real || saved == effective) && !MayTakeAnyUid();
}

}  // namespace

absl::StatusOr<Fd> TieLifeTo(Fd line) {
  absl::StatusOr<Fd> armed = Arm(line.get());
  const bool needs_watch =
      !armed.ok() || getpid() == 1 || !SignalWillBeAllowed();
  if (armed.ok()) line = *std::move(armed);
  if (needs_watch) MP_RETURN_IF_ERROR(EndAtHangup(line.get()));
  // It may have been closed before.
  const absl::StatusOr<bool> ended =
      WaitForFd(line.get(), POLLIN, Deadline(absl::ZeroDuration()));
  if (ended.value_or(false)) EndNow();
  return line;
}

}  // namespace mp::internal
