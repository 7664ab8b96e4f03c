#ifndef MP_POOL_INTERNAL_PROGRESS_METER_H_
#define MP_POOL_INTERNAL_PROGRESS_METER_H_

#include <cstdint>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mp/pool/progress.h"

namespace mp::internal {

// Counts the items of some calls, and tells a ProgressCallback. Once all that
// it was told to expect is done it begins anew.
//
// Threads: safe from any. The callback is called with nothing locked.
class ProgressMeter {
 public:
  // The least time between two calls, but for the last one.
  static constexpr absl::Duration kPause = absl::Milliseconds(100);

  explicit ProgressMeter(ProgressCallback callback)
      : callback_(std::move(callback)) {}

  // Somebody is going to have items done: so many more, or as many as an open
  // input has, each of which is expected as it is read.
  void Expect(uint64_t items, absl::Time now);
  void OpenInput(absl::Time now);
  void CloseInput(absl::Time now);

  // Items have their outcome. Tells it if these were the last.
  void Settle(uint64_t items, bool ok, absl::Time now);

  // Tells how far it is, if it is time to.
  void OnTime(absl::Time now);
  absl::Time NextTime() const;

 private:
  void Begin(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsFinished() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Progress Take(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);

  const ProgressCallback callback_;
  mutable absl::Mutex mutex_;
  bool is_running_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time begun_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_time_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  uint64_t expected_ ABSL_GUARDED_BY(mutex_) = 0;
  int open_inputs_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failed_ ABSL_GUARDED_BY(mutex_) = 0;
  // Who is in the callback; nobody, by default.
  std::thread::id teller_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_PROGRESS_METER_H_
