#include "mp/sync/internal/event_core.h"

#include <algorithm>
#include <climits>

#include "mp/base/deadline.h"

namespace mp::internal {
namespace {

// How long one sleeps before it looks again by itself, as the one that was to
// wake it may have been killed before that.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

}  // namespace

void EventCore::Set() {
  uint32_t seen = state_.word.load();
  do {
    // Whoever set it wakes those that slept then, or has died: then they look.
    if ((seen & kSet) != 0) return;
  } while (!state_.word.compare_exchange_weak(
      seen, ((seen & ~kWaiters) + kOneTime) | kSet));
  if ((seen & kWaiters) != 0) FutexWake(state_.word, INT_MAX);
}

bool EventCore::WaitSlowly(absl::Duration timeout) {
  const Deadline deadline(timeout);
  uint32_t seen = state_.word.load();
  const uint32_t times = seen / kOneTime;
  while ((seen & kSet) == 0 && seen / kOneTime == times) {
    const absl::Duration left = deadline.Remaining();
    if (left == absl::ZeroDuration()) return false;
    const uint32_t wanted = seen | kWaiters;
    if (wanted != seen && !state_.word.compare_exchange_weak(seen, wanted)) {
      continue;
    }
    FutexWait(state_.word, wanted, Deadline(std::min(left, kSlice)));
    seen = state_.word.load();
  }
  return true;
}

}  // namespace mp::internal
