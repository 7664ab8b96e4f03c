#ifndef MP_POOL_INTERNAL_SUBMISSION_H_
#define MP_POOL_INTERNAL_SUBMISSION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/map_state.h"
#include "mp/pool/internal/packed_items.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/task_types.h"
#include "mp/pool/pool_options.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// Errors:
//   kInvalidArgument  one of them is out of its range.
absl::Status CheckTaskOptions(const TaskOptions& options);

// The tasks of one call of a pool, which end or are cancelled together.
//
// Threads: safe from any.
class Submission {
 public:
  explicit Submission(std::weak_ptr<Engine> engine)
      : engine_(std::move(engine)) {}

  // Has a pool call a job for each of some items, of which `chunk` count as one
  // task of a worker.
  absl::Status Submit(const std::shared_ptr<const Job>& job, PackedItems items,
                      uint64_t chunk, const TaskOptions& options,
                      std::shared_ptr<TaskHandler> handler);

  // Has the progress of items told that are to be submitted, if that is wanted:
  // of so many, or of an input that is open until EndInput().
  void BeginProgress(std::optional<uint64_t> items, const TaskOptions& options);
  void EndInput();
  // Some of them have failed without having been submitted.
  void NoteRefused(uint64_t items);

  // Cancels what has been submitted, and has nothing more submitted.
  void Cancel();

  // Whether a worker is at something of it.
  bool IsRunning();

  // How large the chunks of so many items are.
  size_t ChunkSize(size_t items, const TaskOptions& options) const;

 private:
  absl::Status EncodeFunction(Engine& engine, const Job& job);
  std::shared_ptr<ProgressMeter> meter();

  const std::weak_ptr<Engine> engine_;
  absl::Mutex mutex_;
  std::shared_ptr<const Parcel> function_ ABSL_GUARDED_BY(mutex_);
  JobId job_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<TaskId> tasks_ ABSL_GUARDED_BY(mutex_);
  size_t most_tasks_ ABSL_GUARDED_BY(mutex_) = 64;  // before they are sifted
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_index_ ABSL_GUARDED_BY(mutex_) = 0;
  // Null if nobody wants to know.
  std::shared_ptr<ProgressMeter> meter_ ABSL_GUARDED_BY(mutex_);
  bool input_is_open_ ABSL_GUARDED_BY(mutex_) = false;
};

// Items on their way into a pool, many at a time.
//
// Threads: for one.
class ItemBatch {
 public:
  // `make_handler` makes one for the items from an index on.
  ItemBatch(Submission& submission, std::shared_ptr<const Job> job,
            const TaskOptions& options, uint64_t chunk,
            std::function<std::shared_ptr<TaskHandler>(uint64_t)> make_handler,
            uint64_t first = 0);

  // Takes the arguments of the next item. An error is its outcome.
  void Add(absl::StatusOr<Parcel> item);

  // Has a pool run what was added.
  void Submit();

  // The index of the next item.
  uint64_t next() const { return first_ + items_.size(); }

  // Why the pool has taken some of them no more; OK as long as it does.
  const absl::Status& refusal() const { return refusal_; }

  // Whether it has been added to for longer than a moment.
  bool is_old() const;

 private:
  void Refuse(uint64_t items, const absl::Status& why);
  bool IsFull() const;
  bool HasWaited() const;

  Submission& submission_;
  const std::shared_ptr<const Job> job_;
  const TaskOptions& options_;
  const uint64_t chunk_;
  const std::function<std::shared_ptr<TaskHandler>(uint64_t)> make_handler_;
  uint64_t first_;
  PackedItems items_;
  const absl::Duration made_at_;
  absl::Duration waits_since_;
  absl::Status refusal_;
};

// Writes the arguments of one item. What that throws is an error, too.
template <typename Types>
absl::StatusOr<Parcel> EncodeItem(const typename Types::Tuple& arguments) {
  Encoder encoder;
  MP_RETURN_IF_ERROR(RunCatching([&] {
    encoder.Write(arguments);
    return absl::OkStatus();
  }));
  return std::move(encoder).Finish();
}

// Submits `count` items. `end` is what the input ended with; an error is one
// more item, as is what reading an item throws for all that are left.
template <typename Types, typename Iterator>
void SubmitItems(Submission& submission, const std::shared_ptr<const Job>& job,
                 Iterator next, size_t count, absl::Status end,
                 const TaskOptions& options,
                 MapCallbacks<typename Types::Result> callbacks) {
  using T = typename Types::Result;
  const bool has_end = !end.ok();
  const auto map = std::make_shared<MapState<T>>(count + (has_end ? 1 : 0),
                                                 std::move(callbacks));
  submission.BeginProgress(count, options);
  ItemBatch batch(submission, job, options,
                  submission.ChunkSize(count, options), [&map](uint64_t first) {
                    return std::make_shared<RangeHandler<T>>(map, first);
                  });
  size_t read = 0;
  const absl::Status status = RunCatching([&] {
    for (; read < count; ++read, ++next) {
      batch.Add(EncodeItem<Types>(typename Types::Tuple(*next)));
    }
    return absl::OkStatus();
  });
  for (; read < count; ++read) batch.Add(status);
  batch.Submit();
  if (has_end) map->Set(count, AllFailed(1, end));
}

// The same for a range. One that does not know its size is read first.
template <typename Types, typename F, typename Range>
void SubmitChunks(Submission& submission, F&& function, Range&& range,
                  const TaskOptions& options,
                  MapCallbacks<typename Types::Result> callbacks) {
  const auto job = Types::MakeJob(std::forward<F>(function));
  if constexpr (requires { std::size(range); }) {
    SubmitItems<Types>(submission, job, std::begin(range),
                       static_cast<size_t>(std::size(range)), absl::OkStatus(),
                       options, std::move(callbacks));
  } else {
    std::vector<ItemOf<Range>> items;
    absl::Status read = RunCatching([&] {
      for (auto&& item : range)
        items.push_back(std::forward<decltype(item)>(item));
      return absl::OkStatus();
    });
    SubmitItems<Types>(submission, job, items.begin(), items.size(),
                       std::move(read), options, std::move(callbacks));
  }
}

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_SUBMISSION_H_
