#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/after_fork.h"
#include "mp/process/internal/apply_surroundings.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/start.h"
#include "mp/process/internal/thread_count.h"
#include "mp/process/log.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// Sent, an argument is the same as under any other start method, and what the
// child has besides can be let go of: a connection's other end, which it has
// inherited, would keep it from ever seeing the end of the stream.
int RunCopy(StartRequest& request, Parcel parcel) {
  RunAfterFork();
  request.call.reset();
  return RunParcel(std::move(parcel));
}

[[noreturn]] void RunForkedChild(StartRequest& request, Parcel parcel,
                                 pid_t starter) {
  if (ParentWasEnding()) _exit(kExitCodeNotRun);
  BecomeForkedProcess();
  UnblockSignals();
  BecomeProcess(std::move(request.identity));
  const absl::Status attached = AttachCrashSlot(std::move(request.crash_slot));
  // It can do without.
  if (!attached.ok()) Complain(attached.ToString());
  AwaitStarter(starter);
  AttachToParent(std::move(request.parent));
  DetachStdin();
  const absl::Status applied =
      ApplySurroundings(std::move(request.surroundings));
  if (!applied.ok()) {
    Complain(absl::StrCat("cannot begin: ", applied.ToString()));
    ExitProcess(kExitCodeNotRun);
  }
  ExitProcess(request.call->travels() ? RunCopy(request, std::move(parcel))
                                      : RunCall(*request.call));
}

void WarnOfThreads() {
  static std::atomic<bool> warned{false};
  const int threads = CountThreads().value_or(1);
  if (threads <= 1 || warned.exchange(true)) return;
  GetLogger().Log(
      LogLevel::kWarning, "this process has ", threads,
      " threads, and a forked child only the one that starts it: locks that "
      "others hold stay locked there. Use the start method forkserver or "
      "spawn, or start threads later");
}

}  // namespace

StartResult StartFork(StartRequest request) {
  WarnOfThreads();
  Parcel parcel;
  if (request.call->travels()) {
    MP_ASSIGN_OR_RETURN(parcel, EncodeCall(*request.call));
  }
  FlushStdio();  // or the child would write the same text again
  const pid_t starter = getpid();
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) RunForkedChild(request, std::move(parcel), starter);
  // It waits for us, so the pid is still its own.
  absl::StatusOr<Fd> pidfd = OpenPidfd(pid);
  if (pidfd.ok()) return std::make_shared<ProcessChild>(pid, *std::move(pidfd));
  AbandonChild(pid);
  return pidfd.status();
}

}  // namespace mp::internal
