#ifndef MP_POOL_INTERNAL_LAUNCHER_H_
#define MP_POOL_INTERNAL_LAUNCHER_H_

#include "absl/status/status.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// Starts and ends the workers of a pool: as processes or threads of this host,
// or anywhere else. One of the two things that know where a worker lives; the
// other is the Carrier.
//
// What comes of it is told to the Dispatcher: OnWorkerReady(),
// OnWorkerRefused(), and always, as the last of a worker, OnWorkerEnded().
// None of these functions waits, and none calls the Dispatcher.
class Launcher {
 public:
  virtual ~Launcher() = default;

  // Begins to start a worker. If that fails at once there is no such worker.
  virtual absl::Status Start(WorkerId worker) = 0;

  // Has a worker end once it has run what it was sent.
  virtual void Retire(WorkerId worker) = 0;

  // Ends a worker, whatever it is at.
  virtual void Kill(WorkerId worker) = 0;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_LAUNCHER_H_
