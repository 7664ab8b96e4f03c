#include <fcntl.h>
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

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/open_file.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/vfork_child.h"

namespace mp::internal {
namespace {

// "child:7" or "server:7", where 7 is the socket.
constexpr char kVariable[] = "MP_INTERNAL_ROLE";
constexpr absl::string_view kChildPrefix = "child:";
constexpr absl::string_view kServerPrefix = "server:";

struct Self {
  Fd image;
  int image_errno = 0;
  OpenFile image_file;
  std::vector<std::string> arguments;
};

Self* self = nullptr;  // written once, by Init(); outlives exit handlers

// What is executed in place of the program's own image; "" for nothing.
struct Executable {
  Executable() { HoldAcrossForks(mutex); }

  ForkSafeMutex mutex;
  std::string path ABSL_GUARDED_BY(mutex);
};

Executable& TheExecutable() {
  static Executable& executable = *new Executable;  // outlives exit handlers
  return executable;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (TheExecutable(), true);

std::string ExecutablePath() {
  Executable& executable = TheExecutable();
  ForkSafeLock lock(executable.mutex);
  return executable.path;
}

struct ExecArguments {
  const char* path;  // or nullptr for the image
  int image;
  int socket;
  char* const* argv;
  char* const* environment;
  int error;
};

// Runs in a vforked child.
MP_IN_VFORKED_CHILD int ExecInChild(void* data) {
  auto* const exec = static_cast<ExecArguments*>(data);
  ResetHandlers();
  const bool in_order = exec->socket < exec->image;
  const int keep[] = {in_order ? exec->socket : exec->image,
                      in_order ? exec->image : exec->socket};
  CloseAllBut(keep, 2);
  if (syscall(SYS_fcntl, exec->socket, F_SETFD, 0) == 0) {
    UnblockAllSignals();
    if (exec->path != nullptr) {
      syscall(SYS_execve, exec->path, exec->argv, exec->environment);
    } else {
      syscall(SYS_execveat, exec->image, "", exec->argv, exec->environment,
              AT_EMPTY_PATH);
    }
  }
  exec->error = errno;
  syscall(SYS_exit_group, 127);
  return 0;
}

// For exec(), which does not write to them.
std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  return pointers;
}

std::vector<char*> Pointers(char** strings) {
  std::vector<char*> pointers;
  for (; strings != nullptr && *strings != nullptr; ++strings) {
    pointers.push_back(*strings);
  }
  return pointers;
}

// Whether there is something that can be executed.
absl::Status CheckImage() {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  if (!self->image.is_open()) {
    return ErrnoStatus(self->image_errno, "open(\"/proc/self/exe\")");
  }
  if (self->image_file.IsOn(self->image.get())) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the descriptor that mp::Init() opened has been closed by somebody "
      "else; a program that closes descriptors must do so before mp::Init()");
}

std::string RoleVariable(Role role, int socket) {
  return absl::StrCat(kVariable, "=",
                      role == Role::kChild ? kChildPrefix : kServerPrefix,
                      socket);
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
  made->image_file = OpenFile(made->image.get());
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

absl::Status SetSelfExecutable(absl::string_view path) {
  std::string copy(path);
  struct stat info;
  if (!copy.empty()) {
    if (faccessat(AT_FDCWD, copy.c_str(), X_OK, AT_EACCESS) != 0 ||
        stat(copy.c_str(), &info) != 0) {
      return ErrnoStatus(errno, absl::StrCat("SetExecutable(\"", path, "\")"));
    }
    if (!S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(
          absl::StrCat("SetExecutable(\"", path, "\"): it is no file"));
    }
  }
  Executable& executable = TheExecutable();
  ForkSafeLock lock(executable.mutex);
  executable.path = std::move(copy);
  return absl::OkStatus();
}

absl::StatusOr<ExecutedProcess> ExecuteSelf(
    Role role, int socket,
    const std::optional<std::vector<std::string>>& environment) {
  MP_RETURN_IF_ERROR(CheckImage());
  Fd moved;
  if (socket <= STDERR_FILENO) {
    moved = Fd(fcntl(socket, F_DUPFD_CLOEXEC, 3));
    if (!moved.is_open()) return ErrnoStatus(errno, "fcntl(F_DUPFD_CLOEXEC)");
    socket = moved.get();
  }
  std::string variable = RoleVariable(role, socket);
  std::vector<char*> variables =
      environment.has_value() ? Pointers(*environment) : Pointers(environ);
  variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::vector<char*> arguments = Pointers(self->arguments);
  arguments.push_back(nullptr);
  const std::string path = ExecutablePath();

  ExecArguments exec = {path.empty() ? nullptr : path.c_str(),
                        self->image.get(),
                        socket,
                        arguments.data(),
                        variables.data(),
                        0};
  int pidfd = -1;
  const pid_t pid = RunInVforkedChild(ExecInChild, &exec, pidfd);
  if (pid < 0) return ErrnoStatus(errno, "clone");
  ExecutedProcess process = {pid, Fd(pidfd)};
  if (exec.error != 0) {
    RetryOnEintr([&] { return waitpid(pid, nullptr, 0); });
    const std::string& name =
        !path.empty() || self->arguments.empty() ? path : self->arguments[0];
    return ErrnoStatus(exec.error, absl::StrCat("execveat(\"", name, "\")"));
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
