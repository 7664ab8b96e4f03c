#ifndef MP_POOL_POOL_OPTIONS_H_
#define MP_POOL_POOL_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/time/time.h"
#include "mp/pool/progress.h"
#include "mp/process/context.h"
#include "mp/process/internal/call.h"

namespace mp {

// A function that each worker of a pool calls once, before its tasks, with its
// arguments.
//
// Example:
//   Pool::Create({.initializer = mp::PoolInitializer(LoadModel, "model.bin")});
class PoolInitializer {
 public:
  PoolInitializer() = default;

  template <typename F, typename... Args>
  requires(
      !std::is_same_v<std::decay_t<F>,
                      PoolInitializer>) explicit PoolInitializer(F&& function,
                                                                 Args&&... args)
      : call_(internal::MakeTravellingCall(std::forward<F>(function),
                                           std::forward<Args>(args)...)) {}

  // Null for none.
  const internal::Call* call() const { return call_.get(); }

 private:
  std::shared_ptr<internal::Call> call_;
};

struct PoolOptions {
  // How many workers. Default: UsableCpuCount(); in a worker of another pool,
  // which can have a pool of threads (see `context`), its share of that.
  std::optional<int> processes = std::nullopt;

  // How many of them start at once and stay. More start when a task finds all
  // busy, and end after `idle_timeout` without one. Default: all.
  std::optional<int> min_processes = std::nullopt;
  absl::Duration idle_timeout = absl::InfiniteDuration();

  // How they are started. With the start method thread it is CPython's
  // ThreadPool, of which no task can be killed.
  Context context = {};

  // A status that is not OK, or something thrown, breaks the pool.
  PoolInitializer initializer = {};

  // After how many tasks (chunks, of Map()) a worker is replaced by a fresh
  // one; 0 for never.
  int max_tasks_per_child = 0;

  // How many bytes of a worker may be in memory, with what it shares with other
  // processes. One that has more after a task (chunk, of Map()) is replaced once
  // it has run what it is at by then; so a leak ends, but a single item that
  // takes too much is not stopped, for which a control group (memory.max) is
  // the means: RLIMIT_AS counts addresses, not memory. 0 for no limit. Costs
  // some microseconds for each task. Not for threads.
  int64_t max_worker_memory = 0;

  // Whether each worker runs on a single CPU, of those that the thread which
  // makes the pool may use: the one that the fewest workers have. Threads that
  // an initializer starts may go elsewhere. Not for threads.
  bool pin_cpus = false;

  // What workers are called: "PoolWorker-1" and so on.
  std::string name = "PoolWorker";

  // Told how far all calls of Map(), Imap() and their kin together have come,
  // but those that have a callback of their own: ProgressBar("hashing"), say.
  ProgressCallback progress = nullptr;

  // A file for a timeline viewer, such as ui.perfetto.dev or chrome://tracing:
  // what each worker did when. Written at the end of the last worker, over what
  // was there before; Join() says what goes wrong. Costs up to 25 MB of memory,
  // for a quarter of a million items; later ones are only counted.
  std::string trace_file = "";
};

struct TaskOptions {
  // How many items of a Map() stay together: a worker gets so many at a time, or
  // several times as many while they take it less than a moment. Default: so
  // many that there are four chunks for each worker, and less once another one
  // has nothing to do.
  std::optional<size_t> chunk_size = std::nullopt;

  // Those of a higher one go first.
  int priority = 0;

  // How often an item runs again after the worker that ran it was lost.
  int retries = 0;

  // How long an item may run. One that takes longer ends with
  // kDeadlineExceeded: its worker is asked to give it up, see current_task.h,
  // and killed after `grace`.
  absl::Duration time_limit = absl::InfiniteDuration();
  absl::Duration grace = absl::Seconds(1);

  // Whether a Map() ends with the first error that comes, and cancels what is
  // left. Otherwise all items run.
  bool stop_at_first_error = false;

  // Told how far this Map() or Imap() has come. Default: the pool's.
  ProgressCallback progress = nullptr;

  // How many items of an Imap() are under way, or done and not yet read, at
  // most. Rounded down to whole chunks. Default: 64 chunks for each worker.
  std::optional<size_t> buffer_size = std::nullopt;
};

}  // namespace mp

#endif  // MP_POOL_POOL_OPTIONS_H_
