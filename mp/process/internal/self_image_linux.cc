#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/self_image.h"

// clone(2) by its other name in the C library. Thread Sanitizer puts a function
// of its own in the place of clone(), which takes every child for one with
// memory of its own, and here would from then on overlook what the caller
// synchronises.
extern "C" int __clone(  // NOLINT(bugprone-reserved-identifier)
    int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace mp::internal {
namespace {

// "child:7" or "server:7", where 7 is the socket.
constexpr char kVariable[] = "MP_INTERNAL_ROLE";
constexpr absl::string_view kChildPrefix = "child:";
constexpr absl::string_view kServerPrefix = "server:";

// What the kernel calls NSIG, and the size of its signal sets.
constexpr int kSignals = 64;
constexpr size_t kSignalSetBytes = 8;

struct Self {
  Fd image;
  int image_errno = 0;
  struct stat image_info = {};
  std::vector<std::string> arguments;
};

Self* self = nullptr;  // written once, by Init(); outlives exit handlers

struct ExecArguments {
  int image;
  int socket;
  char* const* argv;
  char* const* environment;
  int error;
};

// The rest of the file up to ExecuteSelf() runs between clone() and exec() in
// the memory of the suspended parent: system calls only, no libc that keeps
// state, no sanitizer.

// Sets caught signals to their default; a handler must not run here.
__attribute__((no_sanitize("address", "thread", "undefined"))) void
ResetHandlers() {
  // The kernel's struct sigaction begins with the handler; all of it zero is
  // the default.
  alignas(8) unsigned char action[64];
  alignas(8) unsigned char standard[64];
  for (unsigned char& byte : standard) byte = 0;
  for (int signal = 1; signal <= kSignals; ++signal) {
    syscall(SYS_rt_sigaction, signal, nullptr, action, kSignalSetBytes);
    void (*handler)(int);
    __builtin_memcpy(&handler, action, sizeof(handler));
    if (handler == SIG_DFL || handler == SIG_IGN) continue;
    syscall(SYS_rt_sigaction, signal, standard, nullptr, kSignalSetBytes);
  }
}

__attribute__((no_sanitize("address", "thread", "undefined"))) int ExecInChild(
    void* data) {
  auto* const exec = static_cast<ExecArguments*>(data);
  ResetHandlers();
  const unsigned low = exec->socket < exec->image ? exec->socket : exec->image;
  const unsigned high = exec->socket < exec->image ? exec->image : exec->socket;
  if (low > 3) syscall(SYS_close_range, 3, low - 1, 0);
  if (high > low + 1) syscall(SYS_close_range, low + 1, high - 1, 0);
  if (syscall(SYS_close_range, high + 1, ~0U, 0) == 0 &&
      syscall(SYS_fcntl, exec->socket, F_SETFD, 0) == 0) {
    const uint64_t none = 0;  // so that the child can be ended
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kSignalSetBytes);
    syscall(SYS_execveat, exec->image, "", exec->argv, exec->environment,
            AT_EMPTY_PATH);
  }
  exec->error = errno;
  syscall(SYS_exit_group, 127);
  return 0;
}

// Starts ExecInChild and waits until it has executed or ended.
__attribute__((no_sanitize("address", "thread", "undefined"))) pid_t
CloneAndExec(ExecArguments& exec, int& pidfd) {
  alignas(16) char stack[16 << 10];
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // A handler of ours that ran in the child would run in our memory.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid =
      __clone(ExecInChild, stack + sizeof(stack),
              CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &exec, &pidfd);
  const int saved_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = saved_errno;
  return pid;
}

// Whether the descriptor is still what it was: a program may have closed all
// that it does not know, and opened others since.
bool ImageIsOurs() {
  struct stat info;
  return fstat(self->image.get(), &info) == 0 &&
         info.st_dev == self->image_info.st_dev &&
         info.st_ino == self->image_info.st_ino;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

void RememberSelf(int argc, char** argv) {
  if (self != nullptr) return;
  auto* const made = new Self;
  made->image = Fd(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  if (!made->image.is_open()) made->image_errno = errno;
  // Out of the way of a child's stdio, should the caller have closed its own.
  if (made->image.is_open() && made->image.get() <= STDERR_FILENO) {
    made->image = Fd(fcntl(made->image.get(), F_DUPFD_CLOEXEC, 3));
  }
  if (made->image.is_open()) fstat(made->image.get(), &made->image_info);
  made->arguments.assign(argv, argv + argc);
  self = made;
}

bool SelfIsKnown() { return self != nullptr; }

absl::Status CheckSelfIsKnown() {
  if (SelfIsKnown()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "mp::Init(argc, argv) has not been called; call it first thing in "
      "main(), or depend on //mp/process:auto_init");
}

absl::StatusOr<ExecutedProcess> ExecuteSelf(Role role, int socket) {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  if (!self->image.is_open()) {
    return ErrnoStatus(self->image_errno, "open(\"/proc/self/exe\")");
  }
  if (!ImageIsOurs()) {
    return absl::FailedPreconditionError(
        "the descriptor that mp::Init() opened has been closed by somebody "
        "else; a program that closes descriptors must do so before mp::Init()");
  }
  Fd moved;
  if (socket <= STDERR_FILENO) {
    moved = Fd(fcntl(socket, F_DUPFD_CLOEXEC, 3));
    if (!moved.is_open()) return ErrnoStatus(errno, "fcntl(F_DUPFD_CLOEXEC)");
    socket = moved.get();
  }
  std::string variable =
      absl::StrCat(kVariable, "=",
                   role == Role::kChild ? kChildPrefix : kServerPrefix, socket);
  std::vector<char*> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    environment.push_back(*entry);
  }
  environment.push_back(variable.data());
  environment.push_back(nullptr);
  const std::vector<char*> arguments = Pointers(self->arguments);

  ExecArguments exec = {self->image.get(), socket, arguments.data(),
                        environment.data(), 0};
  int pidfd = -1;
  const pid_t pid = CloneAndExec(exec, pidfd);
  if (pid < 0) return ErrnoStatus(errno, "clone");
  ExecutedProcess process = {pid, Fd(pidfd)};
  if (exec.error != 0) {
    RetryOnEintr([&] { return waitpid(pid, nullptr, 0); });
    return ErrnoStatus(
        exec.error,
        absl::StrCat("execveat(",
                     self->arguments.empty() ? "" : self->arguments[0], ")"));
  }
  return process;
}

std::optional<TakenRole> TakeRole() {
  const char* const text = std::getenv(kVariable);
  if (text == nullptr) return std::nullopt;
  absl::string_view value = text;
  const Role role =
      absl::StartsWith(value, kServerPrefix) ? Role::kForkServer : Role::kChild;
  value.remove_prefix(std::min(value.find(':') + 1, value.size()));
  int socket = -1;
  int type = 0;
  socklen_t size = sizeof(type);
  if (!absl::SimpleAtoi(value, &socket) ||
      getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    // Going on would run the program a second time.
    std::fprintf(stderr,
                 "mp::Init: %s=%s names no socket of this process. It is set "
                 "for new processes of mp only; unset it.\n",
                 kVariable, text);
    std::exit(255);
  }
  unsetenv(kVariable);
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  return TakenRole{role, Fd(socket)};
}

}  // namespace mp::internal
