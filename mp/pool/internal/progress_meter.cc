#include "mp/pool/internal/progress_meter.h"

#include <cstdint>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mp/pool/progress.h"
#include "mp/process/internal/runner.h"

namespace mp::internal {

void ProgressMeter::Expect(uint64_t items, absl::Time now) {
  if (items == 0) return;
  absl::MutexLock lock(&mutex_);
  Begin(now);
  expected_ += items;
}

void ProgressMeter::OpenInput(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Begin(now);
  ++open_inputs_;
}

void ProgressMeter::CloseInput(absl::Time now) {
  {
    absl::MutexLock lock(&mutex_);
    --open_inputs_;
    if (!IsFinished()) return;
  }
  Tell(now);
}

void ProgressMeter::Settle(uint64_t items, bool ok, absl::Time now) {
  {
    absl::MutexLock lock(&mutex_);
    done_ += items;
    if (!ok) failed_ += items;
    if (!IsFinished()) return;
  }
  Tell(now);
}

void ProgressMeter::OnTime(absl::Time now) {
  if (now >= NextTime()) Tell(now);
}

absl::Time ProgressMeter::NextTime() const {
  absl::MutexLock lock(&mutex_);
  return next_time_;
}

void ProgressMeter::Begin(absl::Time now) {
  if (is_running_) return;
  is_running_ = true;
  begun_ = now;
  next_time_ = now;
}

bool ProgressMeter::IsFinished() const {
  return is_running_ && open_inputs_ == 0 && done_ >= expected_;
}

// What is to be told now. If that is the end, all is as at first.
Progress ProgressMeter::Take(absl::Time now) {
  Progress progress{.done = done_,
                    .failed = failed_,
                    .total = std::nullopt,
                    .elapsed = now - begun_,
                    .finished = IsFinished()};
  if (open_inputs_ == 0) progress.total = expected_;
  next_time_ = now + kPause;
  if (progress.finished) {
    is_running_ = false;
    next_time_ = absl::InfiniteFuture();
    expected_ = done_ = failed_ = 0;
  }
  return progress;
}

// Whoever comes while another one tells waits for it, so that the end is told
// before its caller goes on. What the callback itself causes is told once it
// has returned.
void ProgressMeter::Tell(absl::Time now) {
  const std::thread::id self = std::this_thread::get_id();
  mutex_.Lock();
  if (teller_ == self) return mutex_.Unlock();
  const auto nobody_tells = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return teller_ == std::thread::id();
  };
  mutex_.Await(absl::Condition(&nobody_tells));
  if (is_running_) {
    teller_ = self;
    do {
      const Progress progress = Take(now);
      mutex_.Unlock();
      RunCatching([&] {
        callback_(progress);
        return absl::OkStatus();
      }).IgnoreError();
      mutex_.Lock();
    } while (IsFinished());
    teller_ = std::thread::id();
  }
  mutex_.Unlock();
}

}  // namespace mp::internal
