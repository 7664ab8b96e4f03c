#ifndef MP_POOL_POOL_H_
#define MP_POOL_POOL_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/pool/future.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/future_state.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/map_state.h"
#include "mp/pool/internal/submission.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/task_types.h"
#include "mp/pool/pool_options.h"
#include "mp/pool/result_stream.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/parcel.h"

namespace mp {

// A number of processes that run functions for this one: many tasks at the cost
// of a few starts.
//
// Example:
//   MP_ASSIGN_OR_RETURN(mp::Pool pool, mp::Pool::Create({.processes = 4}));
//   MP_ASSIGN_OR_RETURN(std::vector<Digest> digests, pool.Map(HashFile, paths));
//   mp::Future<int> length = pool.ApplyAsync(Length, "hello");
//
// A task is a function that travels, as for a Process, and arguments that do;
// what it returns travels back. A status that is not OK, and what a task throws,
// is the task's error, with the message of the exception.
//
// Shape:   workers are daemons; each has a task or two at a time, so that it
//          need not wait for the next.
// Owns:    its workers. The destructor is Terminate() and Join().
// Threads: safe from any, but moves and the destructor. The destructor is not
//          for callbacks, which run in a thread of the pool.
// Fork:    belongs to the process that made it, and does not travel.
// Death:   a worker that dies fails the item that it ran, with kUnavailable and
//          how it died; what it had not begun runs elsewhere, and another one
//          takes its place. A pool whose workers die before they run anything,
//          one after the other (six by themselves, or 26 that somebody kills),
//          or whose initializer fails, is broken: all of its tasks fail with the
//          reason. When this process dies, its workers do.
// Source:  CPython multiprocessing.pool.Pool, which hangs when a worker is
//          killed, and concurrent.futures.ProcessPoolExecutor, which fails all.
class Pool {
 public:
  using Options = PoolOptions;

  // Starts the workers, and waits until they have run their initializers.
  //
  // Errors:
  //   kInvalidArgument     a number of processes below 1, or of tasks below 0;
  //                        an initializer that cannot be sent.
  //   kFailedPrecondition  the initializer failed; a daemon may not have
  //                        children.
  //   kUnavailable         workers die, or cannot be started.
  static absl::StatusOr<Pool> Create(const Options& options = {});

  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) noexcept;
  ~Pool();

  // Runs function(args...) in a worker. The future has what it returns; an
  // absl::StatusOr<T> is a T or an error.
  //
  // Errors, as those of the future:
  //   kFailedPrecondition  the pool is closed or broken.
  //   kInvalidArgument     an argument that cannot be sent.
  //   kUnavailable         the worker that ran it was lost, and how.
  // Source: CPython Pool.apply_async(), Executor.submit().
  template <typename F, typename... Args>
  auto ApplyAsync(const TaskOptions& options, F&& function, Args&&... args) {
    using Types = internal::TaskTypes<std::decay_t<F>, Args...>;
    using T = typename Types::Result;
    const auto submission = std::make_shared<internal::Submission>(engine_);
    const auto state = std::make_shared<internal::FutureState<T>>(
        [submission] { submission->Cancel(); },
        [submission] { return submission->IsRunning(); });
    internal::ItemBatch batch(
        *submission, Types::MakeJob(std::forward<F>(function)), options, 1,
        [&state](uint64_t) {
          return std::make_shared<internal::ApplyHandler<T>>(state);
        });
    batch.Add(internal::EncodeItem<Types>(
        typename Types::Tuple(std::forward<Args>(args)...)));
    batch.Submit();
    return Future<T>(state);
  }
  template <typename F, typename... Args>
  requires(!std::is_same_v<std::decay_t<F>, TaskOptions>) auto ApplyAsync(
      F&& function, Args&&... args) {
    return ApplyAsync(TaskOptions(), std::forward<F>(function),
                      std::forward<Args>(args)...);
  }

  // The same, and waits. Source: CPython Pool.apply().
  template <typename F, typename... Args>
  auto Apply(F&& function, Args&&... args) {
    return ApplyAsync(std::forward<F>(function), std::forward<Args>(args)...)
        .Take();
  }

  // Runs function(item) for each item of a range. The future has a vector of
  // what they returned, in the order of the items, or the error of the first
  // item that has one; all have run by then, unless `stop_at_first_error` says
  // otherwise. Of a function without a value, it has nothing but that error.
  // What reading the range throws is the error of all that were not yet read.
  //
  // Source: CPython Pool.map_async().
  template <typename F, typename Range>
  auto MapAsync(F&& function, Range&& range, const TaskOptions& options = {}) {
    using Types = internal::TaskTypes<std::decay_t<F>, internal::ItemOf<Range>>;
    using T = typename Types::Result;
    using All = typename internal::AllOf<T>::Type;
    const auto submission = std::make_shared<internal::Submission>(engine_);
    const auto state = std::make_shared<internal::FutureState<All>>(
        [submission] { submission->Cancel(); },
        [submission] { return submission->IsRunning(); });
    internal::MapCallbacks<T> callbacks;
    callbacks.finish = [state](auto results) {
      state->Set(internal::AllOf<T>::From(std::move(results)));
    };
    if (options.stop_at_first_error) {
      callbacks.on_error = [state, submission](const absl::Status& error) {
        if (state->Set(error)) submission->Cancel();
      };
    }
    internal::SubmitChunks<Types>(*submission, std::forward<F>(function), range,
                                  options, std::move(callbacks));
    return Future<All>(state);
  }

  // The same, and waits. Source: CPython Pool.map().
  template <typename F, typename Range>
  auto Map(F&& function, Range&& range, const TaskOptions& options = {}) {
    return MapAsync(std::forward<F>(function), range, options).Take();
  }

  // Runs function(item) for each item, waits, and returns the result of each:
  // absl::StatusOr<T>, or absl::Status of a function without a value.
  template <typename F, typename Range>
  auto MapEach(F&& function, Range&& range, const TaskOptions& options = {}) {
    using Types = internal::TaskTypes<std::decay_t<F>, internal::ItemOf<Range>>;
    using T = typename Types::Result;
    using Results = typename internal::MapCallbacks<T>::Results;
    internal::Submission submission(engine_);
    const auto state = std::make_shared<internal::FutureState<Results>>();
    internal::MapCallbacks<T> callbacks;
    callbacks.finish = [state](auto results) {
      state->Set(std::move(results));
    };
    if (options.stop_at_first_error) {
      callbacks.on_error = [&](const absl::Status&) { submission.Cancel(); };
    }
    internal::SubmitChunks<Types>(submission, std::forward<F>(function), range,
                                  options, std::move(callbacks));
    // It has no error of its own.
    return *Future<Results>(state).Take();
  }

  // Runs function(a, b, ...) for each tuple (a, b, ...) of a range; see
  // MapAsync(), Map().
  //
  // Source: CPython Pool.starmap_async(), starmap().
  template <typename F, typename Range>
  auto StarMapAsync(F&& function, Range&& range,
                    const TaskOptions& options = {}) {
    return MapAsync(internal::Star<std::decay_t<F>>{std::forward<F>(function)},
                    range, options);
  }
  template <typename F, typename Range>
  auto StarMap(F&& function, Range&& range, const TaskOptions& options = {}) {
    return StarMapAsync(std::forward<F>(function), range, options).Take();
  }

  // Runs function(item) for each item of a range, which may have no end: it is
  // read as results are, by whoever reads them, and no further ahead than
  // `buffer_size`. The stream has the results in the order of the items.
  //
  // Source: CPython Pool.imap(buffersize=).
  template <typename F, typename Range>
  auto Imap(F&& function, Range range, const TaskOptions& options = {}) {
    return Stream(StreamOrder::kAsPut, std::forward<F>(function),
                  std::move(range), options);
  }

  // The same, in the order in which they end.
  //
  // Source: CPython Pool.imap_unordered().
  template <typename F, typename Range>
  auto ImapUnordered(F&& function, Range range,
                     const TaskOptions& options = {}) {
    return Stream(StreamOrder::kAsDone, std::forward<F>(function),
                  std::move(range), options);
  }

  // Changes the number of workers. Those that are too many end once they have
  // run what they have.
  //
  // Errors:
  //   kInvalidArgument  below 1.
  absl::Status Resize(int processes);

  // How many workers there are; and their pids, in no order.
  int size() const { return engine_->workers(); }
  std::vector<pid_t> pids() const { return engine_->pids(); }

  // What the workers have done with their time, up to now or the end.
  PoolInsights Insights() const { return engine_->Insights(); }

  // Takes no more tasks. The workers end once all have run. May be called
  // again.
  void Close() { engine_->Close(); }

  // Takes no more tasks, ends all that there are with kCancelled, and kills the
  // workers. May be called again.
  void Terminate() { engine_->Terminate(); }

  // Waits until all workers have ended, and all futures are done.
  //
  // Errors:
  //   kFailedPrecondition  neither Close() nor Terminate() was called.
  //   kDeadlineExceeded    some have not.
  //   others               the trace file cannot be written; all have ended.
  absl::Status Join(absl::Duration timeout = absl::InfiniteDuration()) {
    return engine_->Join(timeout);
  }

 private:
  friend class Executor;

  explicit Pool(std::shared_ptr<internal::Engine> engine)
      : engine_(std::move(engine)) {}

  template <typename F, typename Range>
  auto Stream(StreamOrder order, F&& function, Range range,
              const TaskOptions& options) {
    using Types = internal::TaskTypes<std::decay_t<F>, internal::ItemOf<Range>>;
    return ResultStream<typename Types::Result>(
        order, engine_, Types::MakeJob(std::forward<F>(function)),
        internal::MakeItemSource<Types, Range>(std::move(range)), options);
  }

  std::shared_ptr<internal::Engine> engine_;
};

// A pool of threads of this process, of which no task can be killed.
//
// Example:
//   MP_ASSIGN_OR_RETURN(mp::Pool pool, mp::ThreadPool::Create());
//
// Source: CPython multiprocessing.pool.ThreadPool, multiprocessing.dummy.Pool().
struct ThreadPool {
  // Pool::Create(), of which the start method is thread.
  static absl::StatusOr<Pool> Create(PoolOptions options = {});
};

}  // namespace mp

#endif  // MP_POOL_POOL_H_
