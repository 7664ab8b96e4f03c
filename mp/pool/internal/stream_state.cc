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

// Enough that a worker has items while the next ones are read.
constexpr size_t kItemsPerWorker = 64;

// So that a buffer of many of them has a size.
constexpr size_t kMaxChunk = size_t{1} << 32;

uint64_t BufferSize(const std::weak_ptr<Engine>& engine,
                    const TaskOptions& options) {
  const size_t chunk =
      std::clamp<size_t>(options.chunk_size.value_or(1), 1, kMaxChunk);
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

  void Add(uint64_t first, Outcomes outcomes) {
    absl::MutexLock lock(&mutex_);
    for (Outcome& outcome : outcomes) {
      // Where the order does not matter, each is the next.
      waiting_.emplace(in_order_ ? first++ : added_, std::move(outcome));
      ++added_;
    }
  }

  bool Has(uint64_t index) {
    absl::MutexLock lock(&mutex_);
    return waiting_.contains(index);
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

  void OnOutcomes(uint64_t first, Outcomes outcomes) override {
    results_->Add(first_ + first, std::move(outcomes));
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
      buffer_size_(BufferSize(engine, options)),
      chunk_size_(std::clamp<uint64_t>(options.chunk_size.value_or(1), 1,
                                       buffer_size_)) {
  const absl::Status checked = CheckTaskOptions(options);
  if (checked.ok()) {
    submission_.BeginProgress(std::nullopt, options);
    return;
  }
  results_->Add(fed_++, AllFailed(1, checked));
  at_end_ = true;
}

StreamState::~StreamState() { submission_.Cancel(); }

std::optional<Outcome> StreamState::Next(absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  Feed(until);
  if (given_ == fed_ && at_end_) return std::nullopt;
  std::optional<Outcome> outcome =
      results_->Take(given_, std::min(until, deadline_) - absl::Now());
  if (!outcome.has_value() && absl::Now() >= deadline_) {
    const absl::Status over = absl::DeadlineExceededError(
        absl::StrCat("Map: its time is over; ", given_, " results are read, ",
                     fed_ - given_, " more were under way"));
    Close();
    return over;
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

// Many items at a time, but none while a result can be had.
void StreamState::Feed(absl::Time until) {
  if (at_end_ || fed_ - given_ > buffer_size_ / 2) return;
  until = std::min(until, deadline_);
  do {
    FeedItems();
  } while (!at_end_ && fed_ - given_ + chunk_size_ <= buffer_size_ &&
           absl::Now() < until && !results_->Has(given_));
}

// Reads and submits whole chunks, but for the last one; for not much longer than
// a moment. What the input throws is one more item.
void StreamState::FeedItems() {
  ItemBatch batch(
      submission_, job_, options_, chunk_size_,
      [this](uint64_t first) {
        return std::make_shared<StreamHandler>(results_, first);
      },
      fed_);
  const absl::Status read = RunCatching([&] {
    while (!at_end_ && batch.next() - given_ + chunk_size_ <= buffer_size_ &&
           !batch.is_old() && batch.refusal().ok()) {
      FeedChunk(batch);
    }
    return absl::OkStatus();
  });
  batch.Submit();
  fed_ = batch.next();
  if (!read.ok()) results_->Add(fed_++, AllFailed(1, read));
  // A pool that takes nothing more will not do so later.
  if (!read.ok() || !batch.refusal().ok()) at_end_ = true;
  if (at_end_) submission_.EndInput();
}

void StreamState::FeedChunk(ItemBatch& batch) {
  for (uint64_t i = 0; !at_end_ && i < chunk_size_; ++i) {
    std::optional<absl::StatusOr<Parcel>> item = source_();
    at_end_ = !item.has_value();
    if (!at_end_) batch.Add(*std::move(item));
  }
}

}  // namespace mp::internal
