#ifndef MP_POOL_INTERNAL_WORKER_END_H_
#define MP_POOL_INTERNAL_WORKER_END_H_

#include <cstddef>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/ipc/connection.h"
#include "mp/pool/internal/byte_ring.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {

// The worker's end of what a PoolEnd is the other end of.
//
// Threads: one at a time.
// Death:   of the pool's process: seen within a second, where that does not end
//          the worker.
class WorkerEnd {
 public:
  // `memory` is a WorkerMemory.
  WorkerEnd(Connection socket, SharedMemory memory, Fd bell);

  // Waits for the next message: looks for a moment, lets others run, and then
  // sleeps.
  //
  // Errors:
  //   kOutOfRange  the pool is gone.
  //   kDataLoss    what came is no message.
  absl::StatusOr<ToWorker> Hear();

  // The parcel of the message that was heard last, once. One that is long or
  // has descriptors is received only here, which may fail or end this process.
  //
  // Errors:
  //   kOutOfRange  the pool is gone.
  //   others       it cannot be received; the next message can.
  absl::StatusOr<Parcel> TakeParcel(ToWorker& message);

  // Waits while there is no room.
  //
  // Errors:
  //   kUnavailable  the pool is gone.
  //   others        it cannot be sent at all; a shorter one can.
  absl::Status Say(const FromWorker& message);

  WorkerBoard& board() const { return shared().board; }

 private:
  WorkerMemory& shared() const {
    return *reinterpret_cast<WorkerMemory*>(memory_.data().data());
  }
  absl::Status Push(const FromWorkerHead& head, absl::string_view body);
  ToWorker Take(size_t bytes);
  absl::Status Await(absl::FunctionRef<bool()> ready);
  absl::Status Sleep(absl::FunctionRef<bool()> ready);
  bool PoolIsGone() const;
  void RingBell();

  Connection socket_;
  const SharedMemory memory_;
  const Fd bell_;
  RingReader tasks_;
  RingWriter results_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_WORKER_END_H_
