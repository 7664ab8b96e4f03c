#ifndef MP_POOL_INTERNAL_CARRIER_H_
#define MP_POOL_INTERNAL_CARRIER_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// Carries items to the workers of a pool and what comes of them back: through
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

  // Sends a worker a run of a task's items: the first of the range and as many
  // that follow as it likes. Returns how many.
  //
  // Errors:
  //   kUnavailable  not now, or not to this worker; all stay queued.
  //   others        the first cannot be sent at all; it fails with that.
  virtual absl::StatusOr<uint64_t> Send(WorkerId worker, RunId run,
                                        const TaskSpec& spec,
                                        ItemRange items) = 0;

  // Takes back what the worker has not begun of a run, and is not going to; but
  // nothing before the item `from`. Returns how many items those are, the last
  // ones of the run.
  virtual uint64_t Recall(WorkerId worker, RunId run, uint64_t from) = 0;

  // Asks a worker to give up an item, should it run it; or, where there is none,
  // whatever it runs of a run, and to leave the rest of that run alone.
  virtual void Interrupt(WorkerId worker, RunId run,
                         std::optional<uint64_t> item) = 0;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_CARRIER_H_
