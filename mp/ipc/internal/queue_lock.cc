#include "mp/ipc/internal/queue_lock.h"

#include <sched.h>

#include <algorithm>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

constexpr absl::Duration kGrace = absl::Milliseconds(250);

}  // namespace

// The holder is about to release it, or waits for a processor.
bool QueueLock::LookForAMoment() {
  const MemberId self = members_.self();
  for (int i = 0; i < kLooks + kYields; ++i) {
    uint32_t free = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_strong(free, self)) {
      return true;
    }
    i < kLooks ? Pause() : static_cast<void>(sched_yield());
  }
  return false;
}

absl::Status QueueLock::AcquireSlowly(const Deadline& deadline,
                                      absl::FunctionRef<void()> repair) {
  MP_RETURN_IF_ERROR(members_.Self().status());
  if (LookForAMoment()) return absl::OkStatus();
  const Deadline grace(kGrace);
  while (true) {
    const absl::Status status =
        lock_.Acquire(std::max(deadline.Remaining(), grace.Remaining()));
    if (!absl::IsAborted(status)) return status;
    // Unless another is about it.
    if (lock_.AcquireAbandoned().ok()) break;
  }
  repair();
  return lock_.MarkRepaired();
}

void QueueLock::ReleaseSlowly() { static_cast<void>(lock_.Release()); }

}  // namespace mp::internal
