#include "mp/ipc/internal/turn.h"

#include "absl/status/status.h"
#include "mp/base/deadline.h"

namespace mp::internal {

Turn::Holder::Holder(Turn& turn, const Deadline& deadline) : turn_(turn) {
  if (!turn_.mutex_.LockUntil(deadline)) {
    status_ = absl::DeadlineExceededError(
        "another thread was busy with this connection all the time");
  }
}

Turn::Holder::~Holder() {
  if (status_.ok()) turn_.mutex_.Unlock();
}

}  // namespace mp::internal
