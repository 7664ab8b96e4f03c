#ifndef MP_POOL_INTERNAL_POOL_END_H_
#define MP_POOL_INTERNAL_POOL_END_H_

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/ipc/connection.h"
#include "mp/pool/internal/byte_ring.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/parcel.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {

// The pool's end of what leads to one worker of this host: a ring of messages
// in each direction, a futex to wake the worker and an eventfd to be woken by
// it, and a socket for messages that have descriptors or are long.
//
// Messages keep their order: one that goes by the socket is announced in the
// ring.
//
// Shape:   a message of up to kMaxInRing bytes lies in the ring; the bytes of a
//          longer one are a memfd of their own, which goes with the message.
// Threads: Hear(), AskForBell() and AnswerBell() from one; Say() from one at a
//          time.
// Death:   neither end waits for the other with anything held. What a worker
//          has said is heard when it is dead. Memory that it has spoilt makes
//          damaged() true, or is a message like any other.
class PoolEnd {
 public:
  // `memory` is a WorkerMemory, `bell` an eventfd that does not block.
  PoolEnd(Connection socket, SharedMemory memory, Fd bell);

  // Says a message, with a parcel in place of its own. Does not wait.
  //
  // Errors:
  //   kUnavailable  no room now; the bell rings when there is.
  //   others        it cannot be sent at all.
  absl::Status Say(ToWorker message, const ParcelView& parcel);

  // Takes the next message; nullopt if there is none.
  std::optional<FromWorker> Hear();

  // Whether there is a message.
  bool HasMessage() const { return !damaged() && !results_.IsEmpty(); }

  // Has bell() be readable once there is a message. True if there is one
  // already. To be followed by AnswerBell(), with whether it is readable.
  bool AskForBell();
  void AnswerBell(bool rings);
  int bell() const { return bell_.get(); }

  // The worker has written to where it must not.
  bool damaged() const { return damaged_ || results_.damaged(); }

  WorkerBoard& board() const { return shared().board; }

 private:
  WorkerMemory& shared() const {
    return *reinterpret_cast<WorkerMemory*>(memory_.data().data());
  }
  absl::Status SayBySocket(ToWorkerHead head, ToWorker message,
                           const ParcelView& parcel);
  absl::Status Push(const ToWorkerHead& head, absl::string_view body);
  absl::Status EnsureRoomFor(size_t bytes);
  void WakeWorker();
  FromWorker Read(const FromWorkerHead& head, size_t bytes);
  FromWorker Receive(const FromWorkerHead& head);

  Connection socket_;
  const SharedMemory memory_;
  const Fd bell_;
  RingWriter tasks_;
  RingReader results_;
  bool damaged_ = false;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_POOL_END_H_
