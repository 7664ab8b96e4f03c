#ifndef MP_POOL_INTERNAL_SUBMISSION_H_
#define MP_POOL_INTERNAL_SUBMISSION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/map_state.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"

namespace mp::internal {

// The tasks of one call of a pool, which end or are cancelled together.
//
// Threads: safe from any.
class Submission {
 public:
  explicit Submission(std::weak_ptr<Engine> engine)
      : engine_(std::move(engine)) {}

  // Has a pool call a job for each of some items.
  absl::Status Submit(const std::shared_ptr<const Job>& job, Encoder items,
                      uint64_t count, const TaskOptions& options,
                      std::shared_ptr<TaskHandler> handler);

  // Cancels what has been submitted, and has nothing more submitted.
  void Cancel();

  // How large the chunks of so many items are.
  size_t ChunkSize(size_t items, const TaskOptions& options) const;

 private:
  absl::Status EncodeFunction(Engine& engine, const Job& job);

  const std::weak_ptr<Engine> engine_;
  absl::Mutex mutex_;
  std::shared_ptr<const Parcel> function_ ABSL_GUARDED_BY(mutex_);
  JobId job_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<TaskId> tasks_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

// Submits a range in chunks; `finish` gets the results of all items.
template <typename Types, typename F, typename Range, typename Finish>
void SubmitChunks(Submission& submission, F&& function, const Range& range,
                  const TaskOptions& options, Finish finish) {
  using T = typename Types::Result;
  const auto count =
      static_cast<size_t>(std::distance(std::begin(range), std::end(range)));
  const auto job = Types::MakeJob(std::forward<F>(function));
  const auto map = std::make_shared<MapState<T>>(count, std::move(finish));
  const size_t size = submission.ChunkSize(count, options);
  auto next = std::begin(range);
  for (size_t first = 0; first < count; first += size) {
    const size_t end = std::min(count, first + size);
    Encoder items;
    for (size_t i = first; i < end; ++i, ++next) {
      items.Write(typename Types::Tuple(*next));
    }
    const absl::Status submitted =
        submission.Submit(job, std::move(items), end - first, options,
                          std::make_shared<ChunkHandler<T>>(map, first));
    if (submitted.ok()) continue;
    for (size_t i = first; i < end; ++i) map->Set(i, submitted);
  }
}

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_SUBMISSION_H_
