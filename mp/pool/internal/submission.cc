#include "mp/pool/internal/submission.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// CPython's Pool has so many chunks for each worker.
constexpr size_t kChunksPerWorker = 4;

absl::Status Check(const TaskOptions& options) {
  if (options.chunk_size.has_value() && *options.chunk_size == 0) {
    return absl::InvalidArgumentError(
        "TaskOptions::chunk_size is 0; 1 or more");
  }
  if (options.retries < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "TaskOptions::retries is ", options.retries, "; 0 or more"));
  }
  if (options.time_limit <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "TaskOptions::time_limit is ", absl::FormatDuration(options.time_limit),
        "; more than 0, or infinite"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Submission::Submit(const std::shared_ptr<const Job>& job,
                                Encoder items, uint64_t count,
                                const TaskOptions& options,
                                std::shared_ptr<TaskHandler> handler) {
  MP_RETURN_IF_ERROR(Check(options));
  const std::shared_ptr<Engine> engine = engine_.lock();
  if (engine == nullptr) {
    return absl::FailedPreconditionError("the pool is gone");
  }
  auto payload = std::make_shared<TaskPayload>();
  MP_ASSIGN_OR_RETURN(payload->items, std::move(items).Finish());
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return absl::CancelledError("cancelled");
  if (function_ == nullptr) MP_RETURN_IF_ERROR(EncodeFunction(*engine, *job));
  payload->job = job_;
  payload->function = function_;
  TaskSpec spec;
  spec.items = count;
  spec.priority = options.priority;
  spec.retries = options.retries;
  spec.time_limit = options.time_limit;
  spec.grace = options.grace;
  spec.payload = std::move(payload);
  MP_ASSIGN_OR_RETURN(const TaskId task,
                      engine->Submit(std::move(spec), std::move(handler)));
  tasks_.push_back(task);
  return absl::OkStatus();
}

absl::Status Submission::EncodeFunction(Engine& engine, const Job& job) {
  mutex_.AssertHeld();
  MP_ASSIGN_OR_RETURN(Parcel function, EncodeCall(job));
  job_ = engine.JobFor(function);
  function_ = std::make_shared<const Parcel>(std::move(function));
  return absl::OkStatus();
}

void Submission::Cancel() {
  std::vector<TaskId> tasks;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    tasks.swap(tasks_);
  }
  const std::shared_ptr<Engine> engine = engine_.lock();
  if (engine == nullptr) return;
  for (const TaskId task : tasks) engine->Cancel(task);
}

size_t Submission::ChunkSize(size_t items, const TaskOptions& options) const {
  if (options.chunk_size.has_value()) {
    return std::max<size_t>(*options.chunk_size, 1);
  }
  const std::shared_ptr<Engine> engine = engine_.lock();
  const size_t chunks = engine == nullptr
                            ? 1
                            : kChunksPerWorker * static_cast<size_t>(std::max(
                                                     engine->workers(), 1));
  return std::max<size_t>((items + chunks - 1) / chunks, 1);
}

}  // namespace mp::internal
