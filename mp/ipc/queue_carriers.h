#ifndef MP_IPC_QUEUE_CARRIERS_H_
#define MP_IPC_QUEUE_CARRIERS_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "mp/ipc/queue.h"

// Ways to bring messages from one process to another, for queue_ratios.
namespace mp {

// One of them, for messages of one size. Both sides know it from the fork.
struct Carrier {
  std::function<bool(const std::string&)> put;
  // Into memory that is used again.
  std::function<bool(std::string&)> get;
};

// Makes one. Errors: kUnimplemented, if this machine has it not.
using MakeCarrier =
    std::function<absl::StatusOr<Carrier>(size_t message_bytes)>;

// A Queue<std::string>.
MakeCarrier QueueCarrier(QueueOptions options = {});

// For one producer and one consumer: a ring of bytes in shared memory that can
// sleep, and does nothing else; no better one is known for two processes.
absl::StatusOr<Carrier> RingCarrier(size_t message_bytes);

// A pipe of 1 MiB. For several on a side, up to 4096 bytes.
absl::StatusOr<Carrier> PipeCarrier(size_t message_bytes);

// A Unix socket. For one on each side.
absl::StatusOr<Carrier> SocketCarrier(size_t message_bytes);

// Copies to shared memory, and from there, without anything else.
absl::StatusOr<Carrier> CopyCarrier(size_t message_bytes);

// Boost.Interprocess's message_queue.
absl::StatusOr<Carrier> BoostCarrier(size_t message_bytes);

}  // namespace mp

#endif  // MP_IPC_QUEUE_CARRIERS_H_
