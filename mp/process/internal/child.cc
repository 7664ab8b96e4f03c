#include "mp/process/internal/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/oom.h"
#include "mp/process/process_report.h"

namespace mp::internal {
namespace {

// What CPython gives for a child whose fork server died before it could say.
constexpr int kExitCodeUnknownToServer = 255;

// Returns when a process that started at `begin` ended: when it says, if that
// can be, or else now.
absl::Duration EndOf(const CrashNote& note, absl::Duration begin) {
  const absl::Duration now = MonotonicNow();
  const absl::Duration noted = note.ended_at.value_or(now);
  return noted < begin || noted > now ? now : noted;
}

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
  MP_ASSIGN_OR_RETURN(bool ended, WaitForFd(pidfd_.get(), POLLIN, deadline));
  if (ended && exit_status_.is_open()) {
    MP_ASSIGN_OR_RETURN(ended, WaitForFd(exit_status_.get(), POLLIN, deadline));
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
  CrashNote note;
  if (slot_.slot() != nullptr) note = ReadCrashSlot(*slot_.slot());
  slot_.GiveBack();  // nobody writes there any more
  report_.pid = pid_;
  report_.wall_time = EndOf(note, started_at_) - started_at_;
  if (exit_status_.is_open()) {
    ReadExitStatus(note);
  } else {
    TakeStatus(note);
  }
  LookForOom();
  report_.message = std::move(note.message);
  report_.stack = std::move(note.stack);
}

void ProcessChild::TakeStatus(const CrashNote& note) {
  const absl::StatusOr<std::optional<ReapedChild>> reaped =
      ReapChildWithUsage(pidfd_);
  if (reaped.ok() && reaped->has_value()) {
    report_.exit_code = (*reaped)->exit_code;
    report_.core_dumped = (*reaped)->core_dumped;
    report_.usage = ToResourceUsage((*reaped)->usage);
    return;
  }
  // The pidfd has polled as readable, so the process has ended; if it is not
  // ours to reap any more, somebody else's wait took the status.
  report_.exit_code = note.exit_code;
  report_.remark =
      "its status went to another wait in this program, such as waitpid(-1), "
      "or the program ignores SIGCHLD";
}

void ProcessChild::ReadExitStatus(const CrashNote& note) {
  int code;
  const absl::StatusOr<size_t> got = ReadUpTo(
      exit_status_.get(), reinterpret_cast<char*>(&code), sizeof(code));
  report_.exit_code = got.ok() && *got == sizeof(code)
                          ? code
                          : note.exit_code.value_or(kExitCodeUnknownToServer);
  report_.remark = "its resource usage is known to its fork server only";
}

void ProcessChild::LookForOom() {
  if (killed_by_us_ || report_.exit_code.value_or(-SIGKILL) != -SIGKILL) return;
  report_.oom_killed = OomWatch::Get().Explain();
  if (!report_.exit_code.has_value() && report_.oom_killed == OomKilled::kYes) {
    // Somebody was, in its cgroup; but of this one not even the signal is
    // known.
    report_.oom_killed = OomKilled::kUnknown;
  }
}

ProcessChild::~ProcessChild() {
  ForkSafeLock lock(mutex_);
  if (!reaped_) slot_.Leak();
}

std::optional<int> ProcessChild::exit_code() const {
  ForkSafeLock lock(mutex_);
  return report_.exit_code;
}

absl::Status ProcessChild::Signal(int signal) {
  ForkSafeLock lock(mutex_);
  if (reaped_) return absl::OkStatus();
  if (signal == SIGKILL) killed_by_us_ = true;
  const absl::Status status = SendSignal(pidfd_, signal);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

void ProcessChild::Keep(CrashSlotLease slot, absl::Duration started_at) {
  ForkSafeLock lock(mutex_);
  slot_ = std::move(slot);
  started_at_ = started_at;
}

ProcessReport ProcessChild::Report() const {
  ForkSafeLock lock(mutex_);
  return report_;
}

}  // namespace mp::internal
