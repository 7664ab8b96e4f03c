#include "mp/pool/internal/submission.h"

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/packed_items.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/pool_options.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

// CPython's Pool has so many chunks for each worker.
constexpr size_t kChunksPerWorker = 4;

// How much is submitted at a time, in whole chunks but for very long ones: so
// much that it costs little, and so little that the workers need not wait long
// for the first.
constexpr size_t kBatchBytes = size_t{1} << 20;
constexpr uint64_t kBatchItems = 4096;

// A clock of a few milliseconds that costs next to nothing; see
// clock_gettime(2).
absl::Duration CoarseNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return absl::DurationFromTimespec(now);
}

// Has the items of a task counted, each before its outcome is to be had.
class ProgressHandler final : public TaskHandler {
 public:
  ProgressHandler(std::shared_ptr<ProgressMeter> meter,
                  std::shared_ptr<TaskHandler> handler)
      : meter_(std::move(meter)), handler_(std::move(handler)) {}

  void OnOutcomes(uint64_t first, Outcomes outcomes) override {
    for (const Outcome& outcome : outcomes) {
      meter_->Settle(1, outcome.ok(), Engine::Now());
    }
    handler_->OnOutcomes(first, std::move(outcomes));
  }
  void OnTaskEnd() override { handler_->OnTaskEnd(); }

 private:
  const std::shared_ptr<ProgressMeter> meter_;
  const std::shared_ptr<TaskHandler> handler_;
};

}  // namespace

absl::Status CheckTaskOptions(const TaskOptions& options) {
  if (options.chunk_size.has_value() && *options.chunk_size == 0) {
    return absl::InvalidArgumentError(
        "TaskOptions::chunk_size is 0; 1 or more");
  }
  if (options.buffer_size.has_value() && *options.buffer_size == 0) {
    return absl::InvalidArgumentError(
        "TaskOptions::buffer_size is 0; 1 or more");
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

absl::Status Submission::Submit(const std::shared_ptr<const Job>& job,
                                PackedItems items, uint64_t chunk,
                                const TaskOptions& options,
                                std::shared_ptr<TaskHandler> handler) {
  MP_RETURN_IF_ERROR(CheckTaskOptions(options));
  const std::shared_ptr<Engine> engine = engine_.lock();
  if (engine == nullptr) {
    return absl::FailedPreconditionError("the pool is gone");
  }
  auto payload = std::make_shared<TaskPayload>();
  payload->items = std::move(items);
  const uint64_t count = payload->items.size();
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return absl::CancelledError("cancelled");
  if (function_ == nullptr) MP_RETURN_IF_ERROR(EncodeFunction(*engine, *job));
  payload->job = job_;
  payload->function = function_;
  payload->function_id = job->function_id();
  payload->first_index = next_index_;
  if (meter_ != nullptr) {
    handler = std::make_shared<ProgressHandler>(meter_, std::move(handler));
  }
  TaskSpec spec;
  spec.items = count;
  spec.chunk = chunk;
  spec.keeps_chunks = options.chunk_size.has_value();
  spec.priority = options.priority;
  spec.retries = options.retries;
  spec.time_limit = options.time_limit;
  spec.grace = options.grace;
  spec.payload = std::move(payload);
  MP_ASSIGN_OR_RETURN(const TaskId task,
                      engine->Submit(std::move(spec), std::move(handler)));
  tasks_.push_back(task);
  if (tasks_.size() > most_tasks_) {
    engine->DropEnded(tasks_);
    most_tasks_ = 2 * tasks_.size() + 64;
  }
  next_index_ += count;
  if (input_is_open_) meter_->Expect(count, Engine::Now());
  return absl::OkStatus();
}

absl::Status Submission::EncodeFunction(Engine& engine, const Job& job) {
  mutex_.AssertHeld();
  absl::StatusOr<Parcel> function = absl::InternalError("not written");
  const absl::Status written = RunCatching([&] {
    function = EncodeCall(job);
    return function.status();
  });
  if (!written.ok()) return Explain("the function cannot be sent", written);
  job_ = engine.JobFor(*function);
  function_ = std::make_shared<const Parcel>(*std::move(function));
  return absl::OkStatus();
}

void Submission::BeginProgress(std::optional<uint64_t> items,
                               const TaskOptions& options) {
  const std::shared_ptr<Engine> engine = engine_.lock();
  if (engine == nullptr || items == 0u) return;
  std::shared_ptr<ProgressMeter> meter =
      options.progress == nullptr
          ? engine->progress()
          : std::make_shared<ProgressMeter>(options.progress);
  if (meter == nullptr) return;
  if (items.has_value()) {
    meter->Expect(*items, Engine::Now());
  } else {
    meter->OpenInput(Engine::Now());
  }
  {
    absl::MutexLock lock(&mutex_);
    meter_ = meter;
    input_is_open_ = !items.has_value();
  }
  engine->Watch(std::move(meter));
}

void Submission::EndInput() {
  {
    absl::MutexLock lock(&mutex_);
    if (!std::exchange(input_is_open_, false)) return;
  }
  meter()->CloseInput(Engine::Now());
}

void Submission::NoteRefused(uint64_t items) {
  const std::shared_ptr<ProgressMeter> meter = this->meter();
  {
    absl::MutexLock lock(&mutex_);
    next_index_ += items;
    if (input_is_open_) meter->Expect(items, Engine::Now());
  }
  if (meter != nullptr) meter->Settle(items, /*ok=*/false, Engine::Now());
}

std::shared_ptr<ProgressMeter> Submission::meter() {
  absl::MutexLock lock(&mutex_);
  return meter_;
}

void Submission::Cancel() {
  EndInput();
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

bool Submission::IsRunning() {
  std::vector<TaskId> tasks;
  {
    absl::MutexLock lock(&mutex_);
    tasks = tasks_;
  }
  const std::shared_ptr<Engine> engine = engine_.lock();
  return engine != nullptr &&
         std::any_of(tasks.begin(), tasks.end(),
                     [&](TaskId task) { return engine->IsRunning(task); });
}

size_t Submission::ChunkSize(size_t items, const TaskOptions& options) const {
  if (options.chunk_size.has_value()) {
    return std::max<size_t>(*options.chunk_size, 1);
  }
  const std::shared_ptr<Engine> engine = engine_.lock();
  const size_t chunks = engine == nullptr
                            ? 1
                            : kChunksPerWorker * static_cast<size_t>(std::max(
                                                     engine->max_workers(), 1));
  return std::max<size_t>((items + chunks - 1) / chunks, 1);
}

ItemBatch::ItemBatch(
    Submission& submission, std::shared_ptr<const Job> job,
    const TaskOptions& options, uint64_t chunk,
    std::function<std::shared_ptr<TaskHandler>(uint64_t)> make_handler,
    uint64_t first)
    : submission_(submission),
      job_(std::move(job)),
      options_(options),
      chunk_(chunk),
      make_handler_(std::move(make_handler)),
      first_(first),
      made_at_(CoarseNow()) {}

void ItemBatch::Add(absl::StatusOr<Parcel> item) {
  if (item.ok()) {
    if (items_.size() == 0) waits_since_ = CoarseNow();
    items_.Add(*std::move(item));
    if (IsFull()) Submit();
    return;
  }
  Submit();
  Refuse(1, Explain("the arguments cannot be sent", item.status()));
}

void ItemBatch::Submit() {
  const uint64_t count = items_.size();
  if (count == 0) return;
  refusal_ = submission_.Submit(job_, std::exchange(items_, PackedItems()),
                                chunk_, options_, make_handler_(first_));
  if (!refusal_.ok()) return Refuse(count, refusal_);
  first_ += count;
}

void ItemBatch::Refuse(uint64_t items, const absl::Status& why) {
  submission_.NoteRefused(items);
  make_handler_(first_)->OnOutcomes(0, AllFailed(items, why));
  first_ += items;
}

bool ItemBatch::is_old() const { return CoarseNow() > made_at_; }

bool ItemBatch::HasWaited() const { return CoarseNow() > waits_since_; }

bool ItemBatch::IsFull() const {
  if (items_.bytes() >= kBatchBytes) return true;
  return items_.size() % chunk_ == 0 &&
         (items_.size() >= kBatchItems || HasWaited());
}

}  // namespace mp::internal
