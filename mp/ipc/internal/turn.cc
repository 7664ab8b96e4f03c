#include "mp/ipc/internal/turn.h"

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "mp/base/deadline.h"

namespace mp::internal {

Turn::Holder::Holder(Turn& turn, const Deadline& deadline) : turn_(turn) {
  absl::MutexLock lock(&turn_.mutex_);
  const auto is_free = [](bool* taken) { return !*taken; };
  if (turn_.mutex_.AwaitWithTimeout(absl::Condition(+is_free, &turn_.taken_),
                                    deadline.Remaining())) {
    turn_.taken_ = true;
  } else {
    status_ = absl::DeadlineExceededError(
        "another thread was busy with this connection all the time");
  }
}

Turn::Holder::~Holder() {
  if (!status_.ok()) return;
  absl::MutexLock lock(&turn_.mutex_);
  turn_.taken_ = false;
}

}  // namespace mp::internal
