#include "mp/ipc/internal/turn.h"

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp::internal {
namespace {

constexpr uint32_t kFree = 0;
constexpr uint32_t kTaken = 1;
constexpr uint32_t kAwaited = 2;

}  // namespace

Turn::Holder::Holder(Turn& turn, const Deadline& deadline) : turn_(turn) {
  if (!turn_.Take(deadline)) {
    status_ = absl::DeadlineExceededError(
        "another thread was busy with this connection all the time");
  }
}

Turn::Holder::~Holder() {
  if (status_.ok()) turn_.GiveBack();
}

// The mutex of U. Drepper, "Futexes Are Tricky", section 6, with a deadline.
bool Turn::Take(const Deadline& deadline) {
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

void Turn::GiveBack() {
  if (state_.exchange(kFree, std::memory_order_release) == kAwaited) {
    FutexWake(state_, 1);
  }
}

}  // namespace mp::internal
