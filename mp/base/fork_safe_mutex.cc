#include "mp/base/fork_safe_mutex.h"

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp {
namespace {

constexpr uint32_t kFree = 0;
constexpr uint32_t kTaken = 1;
constexpr uint32_t kAwaited = 2;

}  // namespace

// The second mutex of U. Drepper, "Futexes Are Tricky", with a deadline.
bool ForkSafeMutex::LockUntil(const Deadline& deadline) {
  uint32_t state = kFree;
  if (state_.compare_exchange_strong(state, kTaken,
                                     std::memory_order_acquire)) {
    return true;
  }
  while (state_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
    if (FutexWait(state_, kAwaited, deadline) == FutexResult::kTimedOut) {
      return false;
    }
  }
  return true;
}

void ForkSafeMutex::Unlock() {
  if (state_.exchange(kFree, std::memory_order_release) == kAwaited) {
    FutexWake(state_, 1);
  }
}

void ForkSafeMutex::Reset() { state_.store(kFree, std::memory_order_relaxed); }

}  // namespace mp
