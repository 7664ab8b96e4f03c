#include "mp/base/pidfd.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"

namespace mp {
namespace {

// glibc 2.36 has the wrappers, older ones do not.
constexpr idtype_t kPidfd = static_cast<idtype_t>(3);  // P_PIDFD

}  // namespace

absl::StatusOr<Fd> OpenPidfd(pid_t pid) {
  Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.is_open()) return pidfd;
  if (errno == ESRCH) {
    return absl::NotFoundError(
        absl::StrCat("pidfd_open(", pid, "): there is no such process"));
  }
  return ErrnoStatus(errno, absl::StrCat("pidfd_open(", pid, ")"));
}

absl::Status SendSignal(const Fd& pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) {
    return absl::OkStatus();
  }
  if (errno == ESRCH) {
    return absl::NotFoundError("pidfd_send_signal: the process has ended");
  }
  return ErrnoStatus(errno, absl::StrCat("pidfd_send_signal(", signal, ")"));
}

absl::StatusOr<std::optional<int>> ReapChild(const Fd& pidfd) {
  const absl::StatusOr<std::optional<ReapedChild>> reaped =
      ReapChildWithUsage(pidfd);
  if (!reaped.ok()) return reaped.status();
  if (!reaped->has_value()) return std::nullopt;
  return (*reaped)->exit_code;
}

absl::StatusOr<std::optional<ReapedChild>> ReapChildWithUsage(const Fd& pidfd) {
  siginfo_t info = {};
  ReapedChild child = {};
  const long result = RetryOnEintr([&] {
    return syscall(SYS_waitid, kPidfd, pidfd.get(), &info, WEXITED | WNOHANG,
                   &child.usage);
  });
  if (result != 0) {
    if (errno == ECHILD) {
      return absl::NotFoundError(
          "waitid: no such child, or another wait in this process took it");
    }
    return ErrnoStatus(errno, "waitid(P_PIDFD)");
  }
  if (info.si_pid == 0) return std::nullopt;
  child.exit_code =
      info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
  child.core_dumped = info.si_code == CLD_DUMPED;
  return child;
}

}  // namespace mp
