#ifndef MP_POOL_EXECUTOR_H_
#define MP_POOL_EXECUTOR_H_

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/stream_state.h"
#include "mp/pool/internal/task_types.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/pool/result_stream.h"
#include "mp/process/context.h"

namespace mp {

struct ExecutorOptions {
  // How many workers at most. Each starts when a task finds all others busy.
  // Default: UsableCpuCount().
  std::optional<int> max_workers = std::nullopt;

  // How they are started; see PoolOptions.
  Context context = {};

  // Called by each worker before its tasks. One that fails breaks the executor.
  PoolInitializer initializer = {};

  // After how many tasks a worker is replaced; 0 for never.
  int max_tasks_per_child = 0;

  // How long a worker stays that has nothing to do.
  absl::Duration idle_timeout = absl::InfiniteDuration();

  // What workers are called: "ExecutorWorker-1" and so on.
  std::string name = "ExecutorWorker";
};

struct ExecutorMapOptions {
  // For all results together, from the call on.
  absl::Duration timeout = absl::InfiniteDuration();

  // Its chunk size is 1 unless given; its buffer size bounds how many items are
  // under way, or done and not yet read.
  TaskOptions task = {};
};

struct ShutdownOptions {
  // Whether to wait until all futures are done and all workers have ended, and
  // how long. If not, the exit of the program does.
  bool wait = true;
  absl::Duration timeout = absl::InfiniteDuration();

  // Whether futures that no worker has begun are cancelled.
  bool cancel_futures = false;
};

// Runs functions in other processes, and gives a Future for each call: a Pool
// with the interface of concurrent.futures, whose workers start on demand.
//
// Example:
//   MP_ASSIGN_OR_RETURN(mp::Executor executor, mp::Executor::Create());
//   const mp::Future<int> sum = executor.Submit(Add, 1, 2);
//   MP_ASSIGN_OR_RETURN(const int three, sum.Get(absl::Seconds(10)));
//   auto results = executor.Map({.timeout = absl::Minutes(1)}, Parse, lines);
//   while (auto record = results.Next()) MP_RETURN_IF_ERROR(Use(*record));
//
// Owns:    its workers. The destructor is Shutdown(): it waits for all tasks.
// Threads: safe from any, but moves and the destructor. Callbacks of futures
//          may submit more; they cannot wait for the executor.
// Fork:    belongs to the process that made it, and does not travel.
// Death:   a worker that dies fails the call that it ran, with kUnavailable and
//          how it died, and no other one; see Pool.
// Source:  CPython concurrent.futures.ProcessPoolExecutor. Differs: there one
//          lost worker fails all that is submitted, and all that will be.
class Executor {
 public:
  // Starts no worker yet.
  //
  // Errors:
  //   kInvalidArgument  a number of workers below 1, or of tasks below 0; an
  //                     initializer that cannot be sent.
  static absl::StatusOr<Executor> Create(const ExecutorOptions& options = {});

  Executor(Executor&&) noexcept = default;
  // Shuts down what was here before, as the destructor.
  Executor& operator=(Executor&& other) noexcept;
  ~Executor();

  // Calls function(args...) in a worker. The future has what it returns.
  //
  // Errors, as those of the future:
  //   kFailedPrecondition  it was shut down; or its initializer failed.
  //   kInvalidArgument     options that are out of range.
  //   kUnavailable         the worker that ran it was lost, and how; or no
  //                        worker can be started.
  //   those of the function, and of Serializers of arguments and result
  // Source: CPython Executor.submit().
  template <typename F, typename... Args>
  auto Submit(const TaskOptions& options, F&& function, Args&&... args) {
    return pool_.ApplyAsync(options, std::forward<F>(function),
                            std::forward<Args>(args)...);
  }
  template <typename F, typename... Args>
  requires(!std::is_same_v<std::decay_t<F>, TaskOptions>) auto Submit(
      F&& function, Args&&... args) {
    return Submit(TaskOptions(), std::forward<F>(function),
                  std::forward<Args>(args)...);
  }

  // Calls function(a, b, ...) for the first items of some ranges, the second
  // ones and so on, up to the end of the shortest. The stream has the results
  // in that order. Calls begin now; the ranges are read no further ahead of the
  // results that are read than the buffer's size. Once the time is over, what
  // is left is cancelled, and kDeadlineExceeded is the last result.
  //
  // Source: CPython Executor.map(timeout, chunksize, buffersize). Differs: the
  // buffer always has a limit; a failing call does not end the stream.
  template <typename F, typename... Ranges>
  auto Map(const ExecutorMapOptions& options, F&& function, Ranges... ranges) {
    using Types =
        internal::TaskTypes<std::decay_t<F>, internal::ItemOf<Ranges>...>;
    ResultStream<typename Types::Result> results(
        StreamOrder::kAsPut, pool_.engine_,
        Types::MakeJob(std::forward<F>(function)),
        internal::MakeItemSource<Types, Ranges...>(std::move(ranges)...),
        options.task, absl::Now() + options.timeout);
    results.Start();
    return results;
  }
  template <typename F, typename... Ranges>
  requires(!std::is_same_v<std::decay_t<F>, ExecutorMapOptions>) auto Map(
      F&& function, Ranges... ranges) {
    return Map(ExecutorMapOptions(), std::forward<F>(function),
               std::move(ranges)...);
  }

  // Takes no more calls. Workers end once all have run. May be called again.
  //
  // Errors:
  //   kDeadlineExceeded    some have not after the timeout.
  //   kFailedPrecondition  a callback asks to wait; no call is taken any more
  //                        all the same.
  // Source: CPython Executor.shutdown(wait, cancel_futures).
  absl::Status Shutdown(const ShutdownOptions& options = {});

  // Takes no more calls, ends all that there are with kCancelled, and kills the
  // workers. Does not wait for that: Shutdown() does.
  //
  // Source: CPython 3.14 ProcessPoolExecutor.kill_workers(),
  // terminate_workers().
  void KillWorkers() { pool_.Terminate(); }

  // How many workers there are now.
  int workers() const { return pool_.size(); }

 private:
  explicit Executor(Pool pool) : pool_(std::move(pool)) {}

  Pool pool_;
  bool waits_ = true;  // when it goes
};

// An Executor of threads of this process.
//
// Source: CPython concurrent.futures.ThreadPoolExecutor.
struct ThreadPoolExecutor {
  // Executor::Create(), of which the start method is thread.
  static absl::StatusOr<Executor> Create(ExecutorOptions options = {});
};

}  // namespace mp

#endif  // MP_POOL_EXECUTOR_H_
