#ifndef MP_POOL_CURRENT_TASK_H_
#define MP_POOL_CURRENT_TASK_H_

#include <atomic>
#include <cstdint>

namespace mp {

// Whether the task that this thread runs in a worker of a Pool is to be given
// up: it has run for longer than its limit, or was cancelled. A function that
// may take long asks now and then, and returns early if so; one that does not
// is killed with its worker a little later. False outside of a worker.
//
// Example:
//   for (const Block& block : file) {
//     if (mp::TaskIsInterrupted()) return absl::CancelledError("given up");
//     Digest(block);
//   }
bool TaskIsInterrupted();

namespace internal {

// Has TaskIsInterrupted() say whether `interrupted` is one of two numbers: the
// one of what runs, or the one of a larger thing that it belongs to.
class CurrentTaskScope {
 public:
  CurrentTaskScope(const std::atomic<uint64_t>& interrupted, uint64_t part,
                   uint64_t whole);
  ~CurrentTaskScope();
  CurrentTaskScope(const CurrentTaskScope&) = delete;
  CurrentTaskScope& operator=(const CurrentTaskScope&) = delete;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_POOL_CURRENT_TASK_H_
