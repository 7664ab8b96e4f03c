#ifndef MP_POOL_INTERNAL_FUTURE_STATE_H_
#define MP_POOL_INTERNAL_FUTURE_STATE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace mp::internal {

// Hears of the ends of futures. Is called by the thread that ends one, with
// nothing locked.
class FutureWatcher {
 public:
  virtual ~FutureWatcher() = default;
  virtual void OnFutureDone(size_t index) = 0;
};

// What all copies of a Future share, but for its value.
//
// Threads: safe from any.
class FutureBase {
 public:
  // `canceller` asks whoever runs the task to give it up, and is called with
  // nothing locked, at most once. `is_running` says whether somebody does.
  explicit FutureBase(std::function<void()> canceller = nullptr,
                      std::function<bool()> is_running = nullptr)
      : canceller_(std::move(canceller)), is_running_(std::move(is_running)) {}
  virtual ~FutureBase() = default;
  FutureBase(const FutureBase&) = delete;
  FutureBase& operator=(const FutureBase&) = delete;

  // Returns whether it is done, after `timeout` at the latest.
  bool Wait(absl::Duration timeout) const;

  bool running() const;
  bool done() const;

  // Its status, once it is done.
  absl::Status status() const;

  // Asks for its cancellation, unless it is done.
  void Cancel();

  // Calls `callback` when it is done, or now.
  void OnDone(std::function<void()> callback);
  // The same for a watcher, unless that has gone by then.
  void Watch(const std::shared_ptr<FutureWatcher>& watcher, size_t index);

 protected:
  // Makes it done, once; `store` keeps the value, with the state locked.
  // Returns false if it was done before.
  bool Finish(const absl::Status& status, absl::FunctionRef<void()> store);

  mutable absl::Mutex mutex_;

 private:
  struct Watched {
    std::weak_ptr<FutureWatcher> watcher;
    size_t index;
  };

  bool AddWatch(const std::shared_ptr<FutureWatcher>& watcher, size_t index);

  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> canceller_ ABSL_GUARDED_BY(mutex_);
  const std::function<bool()> is_running_;
  std::vector<std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
  std::vector<Watched> watched_ ABSL_GUARDED_BY(mutex_);
};

// Runs a callback of the user's; what it throws is printed, and that is all.
void RunCallback(const std::function<void()>& callback);

template <typename T>
class FutureState final : public FutureBase {
 public:
  using FutureBase::FutureBase;

  bool Set(absl::StatusOr<T> result) {
    const absl::Status status = result.status();
    return Finish(status, [&] {
      mutex_.AssertHeld();
      result_.emplace(std::move(result));
    });
  }

  // A copy of the result, once it is done.
  absl::StatusOr<T> Get() const {
    absl::MutexLock lock(&mutex_);
    if (taken_) return Taken();
    return *result_;
  }

  absl::StatusOr<T> Take() {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(taken_, true)) return Taken();
    return *std::move(result_);
  }

 private:
  static absl::Status Taken() {
    return absl::FailedPreconditionError(
        "the result has been taken; Get() leaves it to be read again");
  }

  std::optional<absl::StatusOr<T>> result_ ABSL_GUARDED_BY(mutex_);
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;
};

// Of a task that has no value but its status.
template <>
class FutureState<void> final : public FutureBase {
 public:
  using FutureBase::FutureBase;
  bool Set(const absl::Status& status) {
    return Finish(status, [] {});
  }
  absl::Status Get() const { return status(); }
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_FUTURE_STATE_H_
