#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/apply_surroundings.h"
#include "mp/process/internal/environment.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/internal/spawn_program.h"
#include "mp/process/internal/vfork_child.h"

namespace mp::internal {
namespace {

// What getconf PATH says, for an environment without one.
constexpr absl::string_view kStandardPath = "/bin:/usr/bin";

// In the place of what could not be set.
constexpr char kExecFailed[] = "execve";

// All that the child needs, made before there is one.
struct SpawnPlan {
  const SurroundingsPlan* surroundings;
  char* const* candidates;
  char* const* arguments;
  char* const* environment;
  const int* keep;  // sorted, 3 or above
  size_t keep_count;
  bool process_group;
  bool new_session;
  bool restore_signals;
  bool end_with_thread;
  pid_t parent;

  // What the child says; nothing if it has executed.
  PlanFailure failure;
};

// The parent may have ended before its death could send a signal. (Never seen
// by a parent of 1: a subreaper may have taken the child over.)
MP_IN_VFORKED_CHILD bool EndWithThread(const SpawnPlan& plan) {
  if (!plan.end_with_thread) return true;
  if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return false;
  if (syscall(SYS_getppid) != plan.parent) syscall(SYS_exit_group, 127);
  return true;
}

MP_IN_VFORKED_CHILD bool LeaveGroup(const SpawnPlan& plan) {
  if (plan.new_session) return syscall(SYS_setsid) >= 0;
  return !plan.process_group || syscall(SYS_setpgid, 0, 0) == 0;
}

MP_IN_VFORKED_CHILD PlanFailure KeepDescriptors(const SpawnPlan& plan) {
  CloseAllBut(plan.keep, plan.keep_count);
  for (size_t i = 0; i < plan.keep_count; ++i) {
    if (syscall(SYS_fcntl, plan.keep[i], F_SETFD, 0) == 0) continue;
    return {"pass_fds: descriptor", errno, plan.keep[i]};
  }
  return {nullptr, 0, -1};
}

// Whether another folder of PATH may have it, as in execvp(3).
MP_IN_VFORKED_CHILD bool SearchGoesOn(int error) {
  switch (error) {
    case EACCES:
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ESTALE:
    case ENODEV:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

// Returns why nothing could be executed.
MP_IN_VFORKED_CHILD int Execute(const SpawnPlan& plan) {
  int error = ENOENT;
  for (char* const* path = plan.candidates; *path != nullptr; ++path) {
    syscall(SYS_execve, *path, plan.arguments, plan.environment);
    const int now = errno;
    // One that may not be executed says more than those that are not there.
    if (error != EACCES) error = now;
    if (!SearchGoesOn(now)) return now;
  }
  return error;
}

MP_IN_VFORKED_CHILD PlanFailure Prepare(const SpawnPlan& plan) {
  ResetHandlers();
  if (plan.restore_signals) {
    ResetSignal(SIGPIPE);
    ResetSignal(SIGXFSZ);
  }
  if (!EndWithThread(plan)) return {"end_with_parent", errno, -1};
  if (!LeaveGroup(plan)) return {"process_group", errno, -1};
  const PlanFailure failure = CarryOut(*plan.surroundings);
  if (failure.what != nullptr) return failure;
  return KeepDescriptors(plan);
}

MP_IN_VFORKED_CHILD int RunPlan(void* data) {
  auto* const plan = static_cast<SpawnPlan*>(data);
  plan->failure = Prepare(*plan);
  if (plan->failure.what == nullptr) {
    UnblockAllSignals();
    const int error = Execute(*plan);
    plan->failure = {kExecFailed, error, -1};
  }
  syscall(SYS_exit_group, 127);
  return 0;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  // The kernel copies them, and the type is that of C.
  for (const std::string& text : strings) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Without stdio, which is there anyway.
std::vector<int> SortedPassFds(std::vector<int> fds) {
  const auto is_stdio = [](int fd) { return fd <= STDERR_FILENO; };
  fds.erase(std::remove_if(fds.begin(), fds.end(), is_stdio), fds.end());
  std::sort(fds.begin(), fds.end());
  fds.erase(std::unique(fds.begin(), fds.end()), fds.end());
  return fds;
}

// Puts something in the place of a stdin, stdout or stderr that the caller has
// closed, or would not pass on: or the first file that the program opens would
// be taken for it. Reading or writing it fails as before.
absl::Status FillStdio(ResolvedSurroundings& surroundings) {
  for (int stream = 0; stream <= STDERR_FILENO; ++stream) {
    Fd& fd = surroundings.stdio[stream];
    const int flags = fcntl(stream, F_GETFD);
    if (fd.is_open() || (flags >= 0 && (flags & FD_CLOEXEC) == 0)) continue;
    fd = Fd::AboveStdio(
        Fd(open("/dev/null", (stream == 0 ? O_WRONLY : O_RDONLY) | O_CLOEXEC)));
    if (!fd.is_open()) return ErrnoStatus(errno, "open(\"/dev/null\")");
  }
  return absl::OkStatus();
}

absl::Status CheckText(const ProgramRequest& request) {
  if (request.executable.empty()) {
    return absl::InvalidArgumentError("the name of the program is empty");
  }
  for (const std::string& argument : request.arguments) {
    if (argument.find('\0') == std::string::npos) continue;
    return absl::InvalidArgumentError(
        "an argument has a NUL byte, where the program would see its end");
  }
  return absl::OkStatus();
}

// Whether it is there after all, and its interpreter or loader is what is not.
bool IsThere(const std::vector<std::string>& candidates) {
  const auto exists = [](const std::string& path) {
    return absl::StartsWith(path, "/") && access(path.c_str(), F_OK) == 0;
  };
  return std::any_of(candidates.begin(), candidates.end(), exists);
}

absl::Status ExecStatus(int error, const ProgramRequest& request,
                        const std::vector<std::string>& candidates) {
  const std::string what = absl::StrCat("execve(\"", request.executable, "\")");
  switch (error) {
    case ENOEXEC:
      return absl::FailedPreconditionError(
          absl::StrCat(what,
                       ": it is no program that the kernel knows; a "
                       "script begins with #! and its interpreter"));
    case E2BIG:
      return absl::ResourceExhaustedError(absl::StrCat(
          what, ": arguments and environment are too long; see ARG_MAX"));
    case ENOENT:
      if (!IsThere(candidates)) break;
      return absl::NotFoundError(
          absl::StrCat(what,
                       ": the file is there, but not the interpreter in "
                       "its first line, or the loader that it names"));
    default:
      break;
  }
  return ErrnoStatus(error, what);
}

}  // namespace

std::vector<std::string> SearchPath(
    const std::string& executable,
    const std::vector<std::string>& environment) {
  if (absl::StrContains(executable, '/')) return {executable};
  absl::string_view path = kStandardPath;
  for (const std::string& entry : environment) {
    absl::string_view value = entry;
    if (!absl::ConsumePrefix(&value, "PATH=")) continue;
    path = value;
    break;
  }
  std::vector<std::string> candidates;
  for (const absl::string_view folder : absl::StrSplit(path, ':')) {
    // An empty one is the working directory.
    candidates.push_back(folder.empty()
                             ? absl::StrCat("./", executable)
                             : absl::StrCat(folder, "/", executable));
  }
  return candidates;
}

absl::Status CheckPassFds(const std::vector<int>& fds) {
  for (const int fd : fds) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("pass_fds: descriptor ", fd, " is not open"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SpawnedProgram> SpawnProgram(ProgramRequest request) {
  MP_RETURN_IF_ERROR(CheckText(request));
  MP_RETURN_IF_ERROR(FillStdio(request.surroundings));
  const std::vector<int> keep = SortedPassFds(request.pass_fds);
  const std::vector<std::string> environment =
      request.surroundings.environment.has_value()
          ? *std::move(request.surroundings.environment)
          : CopyEnvironment();
  const std::vector<std::string> candidates =
      SearchPath(request.executable, environment);
  const std::vector<char*> candidate_pointers = Pointers(candidates);
  const std::vector<char*> arguments = Pointers(request.arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const SurroundingsPlanner planner(request.surroundings);

  SpawnPlan plan = {};
  plan.surroundings = &planner.plan();
  plan.candidates = candidate_pointers.data();
  plan.arguments = arguments.data();
  plan.environment = environment_pointers.data();
  plan.keep = keep.data();
  plan.keep_count = keep.size();
  plan.process_group = request.process_group;
  plan.new_session = request.new_session;
  plan.restore_signals = request.restore_signals;
  plan.end_with_thread = request.end_with_thread;
  plan.parent = getpid();
  int pidfd = -1;
  const pid_t pid = RunInVforkedChild(RunPlan, &plan, pidfd);
  if (pid < 0) return ErrnoStatus(errno, "clone");
  SpawnedProgram program = {pid, Fd::AboveStdio(Fd(pidfd))};
  if (plan.failure.what == nullptr) return program;
  RetryOnEintr([&] { return waitpid(pid, nullptr, 0); });
  return plan.failure.what == kExecFailed
             ? ExecStatus(plan.failure.error, request, candidates)
             : ToStatus(plan.failure);
}

}  // namespace mp::internal
