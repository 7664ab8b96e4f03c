#ifndef MP_POOL_WAIT_FUTURES_H_
#define MP_POOL_WAIT_FUTURES_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/completion_order.h"

namespace mp {

enum class ReturnWhen {
  kAllCompleted,
  kFirstCompleted,
  kFirstError,  // or all
};

// Waits for some of many futures. Returns the indexes of those that are done,
// in the order of the futures; with a `timeout` that may be none.
//
// Example:
//   const std::vector<size_t> done =
//       mp::Wait(futures, absl::Seconds(1), mp::ReturnWhen::kFirstCompleted);
//
// Source: CPython concurrent.futures.wait().
template <typename T>
std::vector<size_t> Wait(const std::vector<Future<T>>& futures,
                         absl::Duration timeout = absl::InfiniteDuration(),
                         ReturnWhen return_when = ReturnWhen::kAllCompleted) {
  const auto order = std::make_shared<internal::CompletionOrder>();
  size_t valid = 0;
  for (size_t i = 0; i < futures.size(); ++i) {
    if (!futures[i].valid()) continue;
    ++valid;
    futures[i].state()->Watch(order, i);
  }
  const absl::Time end = absl::Now() + timeout;
  for (size_t seen = 0; seen < valid; ++seen) {
    const std::optional<size_t> next = order->Next(end - absl::Now());
    if (!next.has_value()) break;
    if (return_when == ReturnWhen::kFirstCompleted) break;
    if (return_when == ReturnWhen::kFirstError &&
        !*futures[*next].successful()) {
      break;
    }
  }
  std::vector<size_t> done;
  for (size_t i = 0; i < futures.size(); ++i) {
    if (futures[i].done()) done.push_back(i);
  }
  return done;
}

// Gives futures in the order in which they end, each once.
//
// Example:
//   mp::AsCompleted completed(futures);
//   while (completed.HasNext()) {
//     MP_ASSIGN_OR_RETURN(mp::Future<int> next, completed.Next());
//     Use(next.Get());
//   }
//
// Threads: for one.
// Source:  CPython concurrent.futures.as_completed().
template <typename T>
class AsCompleted {
 public:
  // `timeout` is for all of them, from now on.
  explicit AsCompleted(std::vector<Future<T>> futures,
                       absl::Duration timeout = absl::InfiniteDuration())
      : futures_(std::move(futures)), end_(absl::Now() + timeout) {
    absl::flat_hash_set<const void*> known;
    for (size_t i = 0; i < futures_.size(); ++i) {
      if (!futures_[i].valid()) continue;
      if (!known.insert(futures_[i].state().get()).second) continue;
      ++left_;
      futures_[i].state()->Watch(order_, i);
    }
    all_ = left_;
  }

  // Whether there are more, done or not.
  bool HasNext() const { return left_ > 0; }

  // Waits for the next one to end.
  //
  // Errors:
  //   kDeadlineExceeded    none did in time.
  //   kFailedPrecondition  there are no more.
  absl::StatusOr<Future<T>> Next() {
    if (!HasNext()) {
      return absl::FailedPreconditionError(
          "AsCompleted::Next: no more futures");
    }
    const std::optional<size_t> next = order_->Next(end_ - absl::Now());
    if (!next.has_value()) {
      return absl::DeadlineExceededError(absl::StrCat(
          "AsCompleted::Next: ", left_, " of ", all_, " futures unfinished"));
    }
    --left_;
    return futures_[*next];
  }

 private:
  std::vector<Future<T>> futures_;
  const absl::Time end_;
  const std::shared_ptr<internal::CompletionOrder> order_ =
      std::make_shared<internal::CompletionOrder>();
  size_t left_ = 0;
  size_t all_ = 0;
};

}  // namespace mp

#endif  // MP_POOL_WAIT_FUTURES_H_
