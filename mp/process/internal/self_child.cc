#include "mp/process/internal/self_child.h"

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/process/internal/child.h"

namespace mp::internal {
namespace {

class SelfChild final : public Child {
 public:
  pid_t pid() const override { return getpid(); }
  int sentinel() const override { return -1; }
  absl::Status Wait(const Deadline&) override {
    return absl::FailedPreconditionError("a process cannot wait for itself");
  }
  std::optional<int> exit_code() const override { return std::nullopt; }
  absl::Status Signal(int signal) override {
    if (kill(getpid(), signal) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, "kill");
  }
};

}  // namespace

std::shared_ptr<Child> MakeSelfChild() { return std::make_shared<SelfChild>(); }

}  // namespace mp::internal
