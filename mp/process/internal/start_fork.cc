#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/pidfd.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/process_exit.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/start.h"

namespace mp::internal {
namespace {

[[noreturn]] void RunForkedChild(StartRequest& request) {
  Children::Get().Forget();
  ForkServer::Get().Forget();
  ForgetLifeLine();
  BecomeProcess(std::move(request.identity));
  AttachToParent(std::move(request.parent));
  DetachStdin();
  ExitForked(RunCall(*request.call));
}

}  // namespace

StartResult StartFork(StartRequest request) {
  FlushStdio();  // or the child would write the same text again
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) RunForkedChild(request);
  // Nobody has waited for it yet, so the pid is still its own.
  absl::StatusOr<Fd> pidfd = OpenPidfd(pid);
  if (pidfd.ok()) return std::make_shared<ProcessChild>(pid, *std::move(pidfd));
  AbandonChild(pid);
  return pidfd.status();
}

}  // namespace mp::internal
