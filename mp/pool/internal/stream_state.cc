#include "mp/pool/internal/stream_state.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/runner.h"

namespace mp::internal {
namespace {

// Enough that a worker has the next item when it is done with one.
constexpr size_t kItemsPerWorker = 4;

uint64_t BufferSize(const std::weak_ptr<Engine>& engine,
                    const TaskOptions& options) {
  const size_t chunk = std::max<size_t>(options.chunk_size.value_or(1), 1);
  if (options.buffer_size.has_value()) {
    return std::max<size_t>(*options.buffer_size, 1);
  }
  const auto pool = engine.lock();
  const int workers = pool == nullptr ? 1 : std::max(pool->max_workers(), 1);
  return kItemsPerWorker * chunk * static_cast<size_t>(workers);
}

}  // namespace

// What has come, and has not been read.
class StreamResults {
 public:
  explicit StreamResults(bool in_order) : in_order_(in_order) {}

  void Add(uint64_t index, Outcome outcome) {
    absl::MutexLock lock(&mutex_);
    // Where the order does not matter, each is the next.
    waiting_.emplace(in_order_ ? index : added_, std::move(outcome));
    ++added_;
  }

  std::optional<Outcome> Take(uint64_t index, absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto has_come = [this, index]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return waiting_.contains(index);
    };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&has_come), timeout)) {
      return std::nullopt;
    }
    return std::move(waiting_.extract(index).mapped());
  }

 private:
  const bool in_order_;
  absl::Mutex mutex_;
  std::map<uint64_t, Outcome> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t added_ ABSL_GUARDED_BY(mutex_) = 0;
};

namespace {

class StreamHandler final : public TaskHandler {
 public:
  StreamHandler(std::shared_ptr<StreamResults> results, uint64_t first)
      : results_(std::move(results)), first_(first) {}

  void OnOutcome(uint64_t item, Outcome outcome) override {
    results_->Add(first_ + item, std::move(outcome));
  }

 private:
  const std::shared_ptr<StreamResults> results_;
  const uint64_t first_;
};

}  // namespace

StreamState::StreamState(bool in_order, std::weak_ptr<Engine> engine,
                         std::shared_ptr<const Job> job, ItemSource source,
                         const TaskOptions& options, absl::Time deadline)
    : results_(std::make_shared<StreamResults>(in_order)),
      submission_(engine),
      job_(std::move(job)),
      source_(std::move(source)),
      options_(options),
      deadline_(deadline),
      buffer_size_(BufferSize(engine, options)) {
  const absl::Status checked = CheckTaskOptions(options);
  if (checked.ok()) {
    submission_.BeginProgress(std::nullopt, options);
    return;
  }
  results_->Add(fed_++, checked);
  at_end_ = true;
}

StreamState::~StreamState() { submission_.Cancel(); }

std::optional<Outcome> StreamState::Next(absl::Duration timeout) {
  Feed();
  if (given_ == fed_) return std::nullopt;
  std::optional<Outcome> outcome =
      results_->Take(given_, std::min(timeout, deadline_ - absl::Now()));
  if (!outcome.has_value() && absl::Now() >= deadline_) {
    const uint64_t missing = fed_ - given_;
    Close();
    return absl::DeadlineExceededError(
        absl::StrCat("Map: its time is over; ", given_, " results are read, ",
                     missing, " more were under way"));
  }
  if (!outcome.has_value()) {
    return absl::DeadlineExceededError(absl::StrCat(
        "ResultStream::Next: no result after ", absl::FormatDuration(timeout)));
  }
  ++given_;
  return outcome;
}

void StreamState::Close() {
  submission_.Cancel();
  at_end_ = true;
  given_ = fed_;
}

// Only whole chunks, but for the last one.
void StreamState::Feed() {
  const uint64_t size =
      std::clamp<uint64_t>(options_.chunk_size.value_or(1), 1, buffer_size_);
  while (!at_end_ && fed_ - given_ + size <= buffer_size_) FeedChunk(size);
}

// Reads and submits some items. What the input throws is one more.
void StreamState::FeedChunk(uint64_t size) {
  Encoder items;
  uint64_t count = 0;
  const absl::Status read = RunCatching([&] {
    while (count < size && source_(items)) ++count;
    return absl::OkStatus();
  });
  at_end_ = count < size;
  if (count > 0) {
    const absl::Status submitted =
        submission_.Submit(job_, std::move(items), count, options_,
                           std::make_shared<StreamHandler>(results_, fed_));
    if (!submitted.ok()) {
      submission_.NoteRefused(count);
      for (uint64_t i = 0; i < count; ++i) results_->Add(fed_ + i, submitted);
    }
    fed_ += count;
  }
  if (!read.ok()) results_->Add(fed_++, read);
  if (at_end_) submission_.EndInput();
}

}  // namespace mp::internal
