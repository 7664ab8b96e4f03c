#ifndef MP_IPC_INTERNAL_QUEUE_DESCRIPTORS_H_
#define MP_IPC_INTERNAL_QUEUE_DESCRIPTORS_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"

namespace mp::internal {

// Which message descriptors belong to. It stands in front of the message's own
// bytes too.
//
// Shape: 24 bytes.
struct DescriptorsLabel {
  // The place of the message among all that were put.
  uint64_t number = 0;

  // Tells it from one of the same number that was never published.
  uint64_t nonce = 0;

  uint32_t count = 0;
  uint32_t bundled = 0;  // 1: they lie in a socket, which is sent for them
};
static_assert(sizeof(DescriptorsLabel) == 24 &&
              std::is_trivially_copyable_v<DescriptorsLabel>);

// Returns a label for a new message, whose nonce no other has.
absl::StatusOr<DescriptorsLabel> NewDescriptorsLabel(uint64_t number,
                                                     size_t count);

// The descriptors of a queue's messages, on their way in a socket that belongs
// to the queue and travels with its handles.
//
// The descriptors of a message are one datagram. It is sent before the message
// is published, and received before the message is freed. So a datagram without
// a message is one of a producer that died between, and is dropped; a message
// without its datagram had been taken by a consumer that died between.
//
// Shape:   datagrams in the order of the numbers of their messages, up to 253
//          descriptors in each. More lie in a socket of their own, which is
//          sent for them.
// Owns:    both ends of the socket.
// Threads: one process at a time sends, under the queue's put lock, and one
//          receives, under its get lock. Killed anywhere, it has left the
//          socket whole.
// Source:  man 7 unix, SCM_RIGHTS.
class QueueDescriptors {
 public:
  // Errors:
  //   kResourceExhausted  no descriptors left.
  static absl::StatusOr<QueueDescriptors> Create();

  // Takes the ends over from a message, whose sender may be hostile.
  QueueDescriptors(Fd sending, Fd receiving)
      : sending_(std::move(sending)), receiving_(std::move(receiving)) {}

  int sending_fd() const { return sending_.get(); }
  int receiving_fd() const { return receiving_.get(); }

  // Sends the descriptors of a message that is about to be published. False
  // says that the socket is full.
  //
  // Errors:
  //   kResourceExhausted  this user has too many descriptors under way
  //                       (ulimit -n), or there are none left.
  //   kInvalidArgument    the socket does not take that many for one message.
  absl::StatusOr<bool> TrySend(DescriptorsLabel label,
                               absl::Span<const Fd> fds) const;

  // Waits a little for room, or until `deadline`.
  absl::Status AwaitRoom(const Deadline& deadline) const;

  // Receives the descriptors of the message that is being taken, and drops
  // those that come before them and belong to none.
  //
  // Errors:
  //   kNotFound           they have gone with a process that took them.
  //   kResourceExhausted  this process has too few descriptors left
  //                       (ulimit -n). Up to 253 are still there.
  //   kDataLoss           this is no such socket, or not what the label says.
  absl::StatusOr<std::vector<Fd>> Receive(const DescriptorsLabel& label) const;

  // Drops what is first in the socket, for as long as it is `left_over`.
  void Drop(absl::FunctionRef<bool(const DescriptorsLabel&)> left_over) const;

 private:
  Fd sending_;
  Fd receiving_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_DESCRIPTORS_H_
