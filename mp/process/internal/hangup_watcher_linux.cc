#include <linux/capability.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/futex.h"
#include "mp/process/internal/hangup_watcher.h"

// clone(2) by the name under which Thread Sanitizer leaves it alone.
extern "C" int __clone(  // NOLINT(bugprone-reserved-identifier)
    int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace mp::internal {
namespace {

constexpr uid_t kNobody = 65534;
// Where close_range(2) is refused, as by some sandboxes.
constexpr rlim_t kMostToClose = 1 << 16;

struct Argument {
  int line;
  int descriptors;  // all are below
  FutexWord is_ready{0};
};

alignas(16) char stack[16 << 10];

// What follows runs with the thread-local storage of the thread that started
// it, and so may fail, which sets errno, only while that one waits. It may call
// nothing but syscall().

#define MP_BARE __attribute__((no_sanitize("address", "thread", "undefined")))

MP_BARE void CloseAllBut(int line, int descriptors) {
  const auto low = static_cast<unsigned>(line);
  const bool closed =
      syscall(SYS_close_range, low + 1, ~0U, 0) == 0 &&
      (low == 0 || syscall(SYS_close_range, 0, low - 1, 0) == 0);
  for (int fd = 0; !closed && fd < descriptors; ++fd) {
    if (fd != line) syscall(SYS_close, fd);
  }
}

MP_BARE void GiveUpRights() {
  // Without a right to do these, there is less to give up.
  syscall(SYS_setgroups, 0, nullptr);
  syscall(SYS_setresgid, kNobody, kNobody, kNobody);
  if (syscall(SYS_setresuid, kNobody, kNobody, kNobody) != 0) {
    const auto real = static_cast<uid_t>(syscall(SYS_getuid));
    syscall(SYS_setresuid, real, real, real);
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
  for (__user_cap_data_struct& set : none) {
    set.effective = set.permitted = set.inheritable = 0;
  }
  syscall(SYS_capset, &header, none);
}

MP_BARE int Watch(void* data) {
  auto* const argument = static_cast<Argument*>(data);
  pollfd line;
  line.fd = argument->line;
  line.events = POLLIN;
  CloseAllBut(line.fd, argument->descriptors);
  GiveUpRights();
  const auto pid = static_cast<pid_t>(syscall(SYS_getpid));
  argument->is_ready.store(1);
  syscall(SYS_futex, &argument->is_ready, FUTEX_WAKE, 1);
  // No signal interrupts it.
  syscall(SYS_ppoll, &line, 1, nullptr, nullptr, 0);
  // Its own process may always be killed, whatever uid that has by now.
  syscall(SYS_kill, pid, SIGKILL);
  // Process 1 of a PID namespace does not hear itself (man 7 pid_namespaces).
  syscall(SYS_exit_group, 128 + SIGKILL);
  return 0;
}

#undef MP_BARE

int MostDescriptors() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min(limit.rlim_cur, kMostToClose));
}

}  // namespace

absl::Status EndAtHangup(int line) {
  Argument argument = {line, MostDescriptors()};
  const int dumpable = prctl(PR_GET_DUMPABLE);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int thread = __clone(
      Watch, stack + sizeof(stack),
      CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_SYSVSEM,
      &argument);
  const int error = errno;
  while (thread >= 0 && argument.is_ready == 0) {
    FutexWait(argument.is_ready, 0, Deadline(absl::InfiniteDuration()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (thread < 0) return ErrnoStatus(error, "clone");
  // The memory is that of a thread with another uid now (man 2 prctl).
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1);
  return absl::OkStatus();
}

}  // namespace mp::internal
