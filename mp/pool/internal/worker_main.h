#ifndef MP_POOL_INTERNAL_WORKER_MAIN_H_
#define MP_POOL_INTERNAL_WORKER_MAIN_H_

#include "absl/status/status.h"
#include "mp/base/fd.h"
#include "mp/ipc/connection.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {

// What a worker of a pool does: runs what comes from a PoolEnd, in its order,
// until it is told to retire or the pool is gone. The arguments are those of a
// WorkerEnd.
//
// Death: ends when the pool's process does, as a daemon.
absl::Status RunWorker(Connection socket, SharedMemory memory, Fd bell);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_WORKER_MAIN_H_
