#include "mp/pool/internal/future_state.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace mp::internal {

bool FutureBase::Wait(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&done_), timeout);
}

absl::Status FutureBase::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void FutureBase::Cancel() {
  std::function<void()> canceller;
  {
    absl::MutexLock lock(&mutex_);
    if (done_) return;
    canceller = std::exchange(canceller_, nullptr);
  }
  if (canceller != nullptr) canceller();
}

void FutureBase::OnDone(std::function<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    if (!done_) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  RunCallback(callback);
}

void FutureBase::Watch(const std::shared_ptr<FutureWatcher>& watcher,
                       size_t index) {
  if (!AddWatch(watcher, index)) watcher->OnFutureDone(index);
}

// Returns false if it is done already.
bool FutureBase::AddWatch(const std::shared_ptr<FutureWatcher>& watcher,
                          size_t index) {
  absl::MutexLock lock(&mutex_);
  if (done_) return false;
  // Of one that never ends, those who waited in vain must not pile up.
  if (watched_.size() == watched_.capacity()) {
    watched_.erase(std::remove_if(watched_.begin(), watched_.end(),
                                  [](const Watched& watched) {
                                    return watched.watcher.expired();
                                  }),
                   watched_.end());
  }
  watched_.push_back({watcher, index});
  return true;
}

bool FutureBase::running() const {
  return is_running_ != nullptr && !done() && is_running_();
}

bool FutureBase::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

bool FutureBase::Finish(const absl::Status& status,
                        absl::FunctionRef<void()> store) {
  std::vector<std::function<void()>> callbacks;
  std::vector<Watched> watched;
  {
    absl::MutexLock lock(&mutex_);
    if (done_) return false;
    done_ = true;
    status_ = status;
    store();
    canceller_ = nullptr;
    callbacks.swap(callbacks_);
    watched.swap(watched_);
  }
  for (const auto& callback : callbacks) RunCallback(callback);
  for (const Watched& one : watched) {
    if (const auto watcher = one.watcher.lock()) {
      watcher->OnFutureDone(one.index);
    }
  }
  return true;
}

void RunCallback(const std::function<void()>& callback) {
  try {
    callback();
  } catch (const std::exception& error) {
    std::cerr << "mp: a callback of a Future threw: " << error.what() << "\n";
  } catch (...) {
    std::cerr << "mp: a callback of a Future threw\n";
  }
}

}  // namespace mp::internal
