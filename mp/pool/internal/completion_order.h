#ifndef MP_POOL_INTERNAL_COMPLETION_ORDER_H_
#define MP_POOL_INTERNAL_COMPLETION_ORDER_H_

#include <cstddef>
#include <deque>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mp/pool/internal/future_state.h"

namespace mp::internal {

// The indexes of futures in the order in which they end.
//
// Threads: safe from any.
class CompletionOrder final : public FutureWatcher {
 public:
  void OnFutureDone(size_t index) override {
    absl::MutexLock lock(&mutex_);
    done_.push_back(index);
  }

  // Waits for the next one. Returns nullopt after `timeout`.
  std::optional<size_t> Next(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto has_one = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !done_.empty();
    };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&has_one), timeout)) {
      return std::nullopt;
    }
    const size_t index = done_.front();
    done_.pop_front();
    return index;
  }

 private:
  absl::Mutex mutex_;
  std::deque<size_t> done_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_COMPLETION_ORDER_H_
