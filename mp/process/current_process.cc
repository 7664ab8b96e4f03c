#include "mp/process/current_process.h"

#include <poll.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"

namespace mp {

ProcessInfo CurrentProcess() {
  internal::Identity me = internal::CurrentIdentity();
  return {std::move(me.name), getpid(), me.daemon, me.started_by,
          *std::move(me.authkey)};
}

void SetCurrentProcessName(std::string name) {
  internal::SetCurrentName(std::move(name));
}

void SetCurrentProcessAuthKey(AuthKey key) {
  internal::SetCurrentAuthKey(std::move(key));
}

std::optional<ParentProcess> ParentProcess::Get() {
  const internal::ParentLink* const link = internal::CurrentParent();
  if (link == nullptr) return std::nullopt;
  return ParentProcess(link->name, link->pid, link->pidfd.get());
}

bool ParentProcess::IsAlive() const {
  return absl::IsDeadlineExceeded(Join(absl::ZeroDuration()));
}

absl::Status ParentProcess::Join(absl::Duration timeout) const {
  MP_ASSIGN_OR_RETURN(const bool ended,
                      WaitForFd(sentinel_, POLLIN, Deadline(timeout)));
  if (ended) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("ParentProcess::Join: ", name_, " still runs"));
}

std::vector<ProcessInfo> ActiveChildren() {
  std::vector<ProcessInfo> active;
  for (const internal::Children::Entry& entry :
       internal::Children::Get().Active()) {
    if (!entry.started_by.has_value()) continue;
    active.push_back(
        {entry.name, entry.child->pid(), entry.daemon, entry.started_by, {}});
  }
  return active;
}

}  // namespace mp
