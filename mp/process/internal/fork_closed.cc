#include "mp/process/internal/fork_closed.h"

#include <unistd.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/hold_across_forks.h"

namespace mp::internal {
namespace {

struct List {
  List() { HoldAcrossForks(mutex); }

  ForkSafeMutex mutex;
  ForkClosed* last ABSL_GUARDED_BY(mutex) = nullptr;
};

List& All() {
  static List& list = *new List;  // outlives exit handlers
  return list;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (All(), true);

}  // namespace

ForkClosed::ForkClosed(const Fd& fd) : fd_(fd.get()) {
  List& all = All();
  ForkSafeLock lock(all.mutex);
  previous_ = std::exchange(all.last, this);
  if (previous_ != nullptr) previous_->next_ = this;
}

ForkClosed::~ForkClosed() {
  List& all = All();
  ForkSafeLock lock(all.mutex);
  if (previous_ != nullptr) previous_->next_ = next_;
  (next_ == nullptr ? all.last : next_->previous_) = previous_;
}

void CloseAfterFork() {
  List& all = All();
  ForkSafeLock lock(all.mutex);
  // The objects lie on the stacks of threads that are not in this process.
  for (const ForkClosed* closed = std::exchange(all.last, nullptr);
       closed != nullptr; closed = closed->previous_) {
    close(closed->fd_);
  }
}

}  // namespace mp::internal
