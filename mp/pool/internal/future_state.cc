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
  const auto is_done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return phase_ == FuturePhase::kDone;
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&is_done), timeout);
}

absl::Status FutureBase::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void FutureBase::Cancel() {
  std::function<void()> canceller;
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ == FuturePhase::kDone) return;
    canceller = std::exchange(canceller_, nullptr);
  }
  if (canceller != nullptr) canceller();
}

void FutureBase::OnDone(std::function<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ != FuturePhase::kDone) {
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
  if (phase_ == FuturePhase::kDone) return false;
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

void FutureBase::SetRunning() {
  absl::MutexLock lock(&mutex_);
  if (phase_ == FuturePhase::kPending) phase_ = FuturePhase::kRunning;
}

bool FutureBase::Finish(const absl::Status& status,
                        absl::FunctionRef<void()> store) {
  std::vector<std::function<void()>> callbacks;
  std::vector<Watched> watched;
  {
    absl::MutexLock lock(&mutex_);
    if (phase_ == FuturePhase::kDone) return false;
    phase_ = FuturePhase::kDone;
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

FuturePhase FutureBase::phase() const {
  absl::MutexLock lock(&mutex_);
  return phase_;
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
