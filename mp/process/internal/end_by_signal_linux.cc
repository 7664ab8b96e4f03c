#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>

#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/live_children.h"

namespace mp::internal {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// How long a process may take to end by SIGKILL.
constexpr absl::Duration kKillGrace = absl::Seconds(1);

constinit std::atomic<bool> left_alone{false};
constinit EndPatience patience;

// The process that is ending; a forked child of it is not.
constinit std::atomic<pid_t> ending{0};

// From here on, what the handler calls is async-signal-safe (man 7
// signal-safety); Deadline computes, and reads the clock.

// Whom a signal has reached.
enum class Reach {
  kJob,     // all of this process's group
  kAlone,   // nobody else
  kUnknown  // this process, and maybe others
};

Reach ReachOf(int signal, const siginfo_t& info) {
  if (info.si_code != SI_KERNEL) {
    return getpid() == 1 ? Reach::kAlone : Reach::kUnknown;
  }
  // The job gets a hang-up only when the session leader has ended.
  const bool is_leaders = signal == SIGHUP && getsid(0) == getpid();
  return is_leaders ? Reach::kAlone : Reach::kJob;
}

// Returns false if the process has ended, or may not be signalled.
bool Send(const LiveProcess& child, int signal) {
  return syscall(SYS_pidfd_send_signal, child.pidfd, signal, nullptr, 0) == 0;
}

void AwaitEnd(const LiveProcess& child, const Deadline& deadline) {
  pollfd fd = {child.pidfd, POLLIN, 0};
  int ready;
  do {
    const std::optional<timespec> left = deadline.RemainingTimespec();
    ready = ppoll(&fd, 1, left.has_value() ? &*left : nullptr, nullptr);
  } while (ready < 0 && errno == EINTR);
}

void AwaitAll(const Deadline& deadline) {
  ForEachLiveChild([&](LiveProcess& child) {
    if (child.awaited) AwaitEnd(child, deadline);
  });
}

bool HasEnded(const LiveProcess& child) {
  pollfd fd = {child.pidfd, POLLIN, 0};
  return poll(&fd, 1, 0) > 0;
}

void AwaitOwnEnds(Reach reach) {
  // One that has left the job has no part in what happens to it.
  if (reach == Reach::kJob) {
    ForEachLiveChild([](LiveProcess& child) {
      child.awaited = getpgid(child.pid) == getpgrp();
    });
  }
  AwaitAll(Deadline(reach == Reach::kJob ? patience.after_terminal
                                         : patience.after_sender));
}

void TellChildren(int signal, Reach reach) {
  ForEachLiveChild([&](LiveProcess& child) {
    if (HasEnded(child)) return;
    if (child.daemon) {
      child.awaited = Send(child, SIGTERM);
    } else if (reach == Reach::kAlone) {
      child.awaited = Send(child, signal);
    } else if (reach == Reach::kUnknown) {
      child.awaited = false;
    }
  });
}

void KillDaemons() {
  const Deadline deadline(kKillGrace);
  ForEachLiveChild([&](LiveProcess& child) {
    if (child.daemon && !HasEnded(child) && Send(child, SIGKILL)) {
      AwaitEnd(child, deadline);
    }
  });
}

void EndChildren(int signal, Reach reach) {
  const Deadline deadline(patience.in_all);
  if (reach != Reach::kAlone) AwaitOwnEnds(reach);
  TellChildren(signal, reach);
  AwaitAll(deadline);
  KillDaemons();
}

void Unblock(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

[[noreturn]] void EndNow(int signal) {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  Unblock(signal);
  raise(signal);
  // Process 1 of a PID namespace has no default actions.
  _exit(128 + signal);
}

void EndBySignal(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const pid_t self = getpid();
  if (ending.exchange(self) != self) {
    for (const int other : kSignals) Unblock(other);
    EndChildren(signal, ReachOf(signal, *info));
    EndNow(signal);
  }
  // It is ending already, here or in another thread.
  if (signal == SIGINT) EndNow(signal);
  errno = saved_errno;
}

}  // namespace

void EndBySignalAfterChildren() {
  if (left_alone) return;
  struct sigaction action = {};
  action.sa_sigaction = EndBySignal;
  // Not deferred, so that a second one is heard while the first is handled.
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART;
  for (const int signal : kSignals) {
    struct sigaction before;
    if (sigaction(signal, nullptr, &before) == 0 &&
        before.sa_handler == SIG_DFL) {
      sigaction(signal, &action, nullptr);
    }
  }
}

void LeaveSignalsAlone() { left_alone = true; }

void StandStillIfEnding() {
  const pid_t process = ending;
  if (process == 0 || process != getpid()) return;
  while (true) pause();
}

bool ParentWasEnding() {
  const pid_t process = ending;
  return process != 0 && process != getpid();
}

void SetEndPatience(const EndPatience& value) { patience = value; }

}  // namespace mp::internal
