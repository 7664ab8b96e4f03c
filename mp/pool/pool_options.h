#ifndef MP_POOL_POOL_OPTIONS_H_
#define MP_POOL_POOL_OPTIONS_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/time/time.h"
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
  // How many workers. Default: UsableCpuCount().
  std::optional<int> processes = std::nullopt;

  // How they are started. With the start method thread it is CPython's
  // ThreadPool, of which no task can be killed.
  Context context = {};

  // A status that is not OK, or something thrown, breaks the pool.
  PoolInitializer initializer = {};

  // After how many tasks (chunks, of Map()) a worker is replaced by a fresh
  // one; 0 for never.
  int max_tasks_per_child = 0;

  // What workers are called: "PoolWorker-1" and so on.
  std::string name = "PoolWorker";
};

struct TaskOptions {
  // How many items of a Map() one worker takes at a time. Default: so many that
  // there are four chunks for each worker.
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

  // How many items of an Imap() are under way, or done and not yet read, at
  // most. Default: enough to keep all workers busy.
  std::optional<size_t> buffer_size = std::nullopt;
};

}  // namespace mp

#endif  // MP_POOL_POOL_OPTIONS_H_
