#include "mp/process/internal/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// What CPython gives for a child whose fork server died before it could say.
constexpr int kExitCodeUnknownToServer = 255;

}  // namespace

void AbandonChild(Child& child) {
  child.Signal(SIGKILL).IgnoreError();
  child.Wait(Deadline(absl::InfiniteDuration())).IgnoreError();
}

void AbandonChild(pid_t pid) {
  kill(pid, SIGKILL);
  RetryOnEintr([&] { return waitpid(pid, nullptr, 0); });
}

absl::Status ProcessChild::Wait(const Deadline& deadline) {
  {
    ForkSafeLock lock(mutex_);
    if (reaped_) return absl::OkStatus();
  }
  // The wait itself is without the lock, so that others can look meanwhile.
  const int source = exit_status_.is_open() ? exit_status_.get() : pidfd_.get();
  MP_ASSIGN_OR_RETURN(bool ended, WaitForFd(pidfd_.get(), POLLIN, deadline));
  if (ended) {
    MP_ASSIGN_OR_RETURN(ended, WaitForFd(source, POLLIN, deadline));
  }
  if (!ended) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " still runs"));
  }
  ForkSafeLock lock(mutex_);
  if (!reaped_) Reap();
  return absl::OkStatus();
}

void ProcessChild::Reap() {
  reaped_ = true;
  if (exit_status_.is_open()) return ReadExitStatus();
  const absl::StatusOr<std::optional<int>> code = ReapChild(pidfd_);
  // The pidfd has polled as readable, so the process has ended; if it is not
  // ours to reap any more, somebody else's wait took the code.
  if (code.ok()) exit_code_ = *code;
}

void ProcessChild::ReadExitStatus() {
  int code;
  const absl::StatusOr<size_t> got = ReadUpTo(
      exit_status_.get(), reinterpret_cast<char*>(&code), sizeof(code));
  exit_code_ =
      got.ok() && *got == sizeof(code) ? code : kExitCodeUnknownToServer;
}

std::optional<int> ProcessChild::exit_code() const {
  ForkSafeLock lock(mutex_);
  return exit_code_;
}

absl::Status ProcessChild::Signal(int signal) {
  ForkSafeLock lock(mutex_);
  if (reaped_) return absl::OkStatus();
  const absl::Status status = SendSignal(pidfd_, signal);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace mp::internal
