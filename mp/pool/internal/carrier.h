#ifndef MP_POOL_INTERNAL_CARRIER_H_
#define MP_POOL_INTERNAL_CARRIER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// Carries tasks to the workers of a pool and what comes of them back: through
// shared memory, a socket, or anything else.
//
// A worker runs what it was sent in that order. What comes back is told to the
// Dispatcher, of one worker in its order: OnItemBegun(), OnItemDone(),
// OnRanAllUpTo(); all that a worker has said before the launcher's
// OnWorkerEnded() for it. None of these functions waits, and none calls the
// Dispatcher.
class Carrier {
 public:
  virtual ~Carrier() = default;

  // Sends the items of a task from `first` on.
  //
  // Errors:
  //   kUnavailable  not now, or not to this worker; the task stays queued.
  //   others        it cannot be sent at all; its items fail with that.
  virtual absl::Status Send(WorkerId worker, TaskId task, const TaskSpec& spec,
                            uint64_t first) = 0;

  // Takes a task back. True if the worker had not begun it, and is not going to.
  virtual bool Recall(WorkerId worker, TaskId task) = 0;

  // Asks a worker to give up the item that it runs, and to leave the rest of
  // that task alone.
  virtual void Interrupt(WorkerId worker, TaskId task) = 0;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_CARRIER_H_
