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

// The holder is about to release it, or waits for a processor. Looks ever more
// seldom: two who take turns spend their time on having the memory sent to and
// fro, and get on better if one of them stands back for some turns.
bool QueueLock::LookForAMoment() {
  constexpr int kMaxPauses = 64;
  const MemberId self = members_.self();
  const auto try_acquire = [&] {
    uint32_t free = 0;
    return word_.load(std::memory_order_relaxed) == 0 &&
           word_.compare_exchange_strong(free, self);
  };
  for (int pauses = 1; pauses <= kMaxPauses; pauses *= 2) {
    if (try_acquire()) return true;
    for (int i = 0; i < pauses; ++i) Pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (try_acquire()) return true;
    sched_yield();
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
