#ifndef MP_SYNC_INTERNAL_EVENT_CORE_H_
#define MP_SYNC_INTERNAL_EVENT_CORE_H_

#include <cstdint>

#include "absl/time/time.h"
#include "mp/base/futex.h"

namespace mp::internal {

// The shared part of an event, all zero for one that is not set.
//
// Shape: 4 bytes. docs/sync_format.md says what each bit is.
struct EventCoreState {
  FutexWord word;
};
static_assert(sizeof(EventCoreState) == 4);

// A flag that processes wait for, of which every change is one store. It counts
// how often it was set, so that one who waits does not miss that it was set and
// cleared at once.
//
// Owns:    nothing: `state` outlives it.
// Threads: safe from any.
// Death:   one that is killed between its store and the wake of the others
//          costs these 50 ms at most.
// Source:  man 2 futex.
class EventCore {
 public:
  static constexpr uint32_t kSet = 1;
  static constexpr uint32_t kWaiters = 2;
  static constexpr uint32_t kOneTime = 4;

  explicit EventCore(EventCoreState& state) : state_(state) {}

  bool IsSet() const { return (state_.word.load() & kSet) != 0; }
  void Set();
  void Clear() { state_.word.fetch_and(~kSet); }

  // Waits until it is set. Returns whether it was, in time.
  bool Wait(absl::Duration timeout) { return IsSet() || WaitSlowly(timeout); }

 private:
  bool WaitSlowly(absl::Duration timeout);

  EventCoreState& state_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_EVENT_CORE_H_
