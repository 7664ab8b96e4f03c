#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_hook.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// Sent, an argument is the same as under any other start method, and what the
// child has besides can be let go of: a connection's other end, which it has
// inherited, would keep it from ever seeing the end of the stream.
int RunCopy(StartRequest& request, Parcel parcel) {
  ForkHook::RunAll();
  request.call.reset();
  return RunParcel(std::move(parcel));
}

[[noreturn]] void RunForkedChild(StartRequest& request, Parcel parcel) {
  UnblockSignals();
  BecomeProcess(std::move(request.identity));
  AttachToParent(std::move(request.parent));
  DetachStdin();
  ExitForked(request.call->travels() ? RunCopy(request, std::move(parcel))
                                     : RunCall(*request.call));
}

}  // namespace

StartResult StartFork(StartRequest request) {
  Parcel parcel;
  if (request.call->travels()) {
    MP_ASSIGN_OR_RETURN(parcel, EncodeCall(*request.call));
  }
  FlushStdio();  // or the child would write the same text again
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) RunForkedChild(request, std::move(parcel));
  // Nobody has waited for it yet, so the pid is still its own.
  absl::StatusOr<Fd> pidfd = OpenPidfd(pid);
  if (pidfd.ok()) return std::make_shared<ProcessChild>(pid, *std::move(pidfd));
  AbandonChild(pid);
  return pidfd.status();
}

}  // namespace mp::internal
