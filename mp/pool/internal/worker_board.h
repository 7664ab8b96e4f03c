#ifndef MP_POOL_INTERNAL_WORKER_BOARD_H_
#define MP_POOL_INTERNAL_WORKER_BOARD_H_

#include <atomic>
#include <cstdint>

#include "mp/pool/internal/task.h"

namespace mp::internal {

// What a worker of this host and its pool share besides their messages. All
// zero at first.
//
// Death: each field is written by one store, so that a worker which is killed
// at any moment has left what it was at.
struct WorkerBoard {
  static constexpr uint64_t kSlots = 64;

  // The task that runs, and 1 + which of its items; 0 for none. The item is
  // written last, and cleared once its outcome is on its way.
  std::atomic<TaskId> task;
  std::atomic<uint64_t> item_plus_1;

  // The task that is to be given up, once it runs.
  std::atomic<TaskId> interrupted;

  // Of each task that was sent, in one of these by turns: its id, until the
  // worker takes it to run it, or the pool takes it back.
  std::atomic<TaskId> sent[kSlots];

  // Whoever succeeds has the task.
  bool Claim(uint64_t slot, TaskId id) {
    return sent[slot % kSlots].compare_exchange_strong(id, 0);
  }
};
static_assert(std::atomic<TaskId>::is_always_lock_free);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_WORKER_BOARD_H_
