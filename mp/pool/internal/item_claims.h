#ifndef MP_POOL_INTERNAL_ITEM_CLAIMS_H_
#define MP_POOL_INTERNAL_ITEM_CLAIMS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

namespace mp::internal {

// Which items of a run are to be had, in memory that a pool and its worker
// share: the worker takes the first of them, one after the other, and the pool
// takes back the last. All zero is none.
//
// Threads: one at each end. Each item goes to one of them.
// Death:   one instruction takes an item, so that there is no half of one.
class ItemClaims {
 public:
  // The pool's: lets the worker have items 0 to `items` - 1. There are none now.
  void Offer(uint32_t items) { state_.store(items, std::memory_order_release); }

  // The worker's: takes the next one; nullopt if there is none.
  std::optional<uint32_t> Take() {
    uint64_t state = state_.load(std::memory_order_acquire);
    while (Next(state) < End(state)) {
      if (state_.compare_exchange_weak(state, state + kOne)) {
        return Next(state);
      }
    }
    return std::nullopt;
  }

  // The pool's: takes back the last ones, but none before `from`; `end` is where
  // they ended before, as it knows. Returns the first of them, or `end`.
  uint32_t TakeBack(uint32_t from, uint32_t end) {
    uint64_t state = state_.load();
    // A worker that has written anything else gets no advantage by it.
    while (End(state) == end && std::max(Next(state), from) < end) {
      const uint32_t first = std::max(Next(state), from);
      if (state_.compare_exchange_weak(state, state - end + first)) {
        return first;
      }
    }
    return end;
  }

 private:
  static constexpr uint64_t kOne = uint64_t{1} << 32;
  static uint32_t Next(uint64_t state) {
    return static_cast<uint32_t>(state >> 32);
  }
  static uint32_t End(uint64_t state) { return static_cast<uint32_t>(state); }

  std::atomic<uint64_t> state_;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_ITEM_CLAIMS_H_
