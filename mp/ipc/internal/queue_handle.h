#ifndef MP_IPC_INTERNAL_QUEUE_HANDLE_H_
#define MP_IPC_INTERNAL_QUEUE_HANDLE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/deadline.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// What queues of all types are made of: the core, and the socket for what
// cannot lie in memory.
//
// Owns:    a share of both; copies are cheap. An empty one is a closed queue.
// Threads: a value; what it refers to is safe from any.
class QueueHandle {
 public:
  QueueHandle() = default;

  // `with_descriptors` says that messages may have descriptors.
  //
  // Errors: those of QueueCore::Create().
  static absl::StatusOr<QueueHandle> Create(const QueueOptions& options,
                                            bool with_descriptors);

  bool closed() const { return state_ == nullptr; }

  // Returns kFailedPrecondition, in the name of "Queue::Put", if it is closed.
  absl::Status CheckOpen(absl::string_view operation) const {
    return closed() ? Closed(operation) : absl::OkStatus();
  }

  // For one that is open.
  QueueCore& core() const;

  // Puts what an Encoder has made, with its descriptors.
  absl::Status PutParcel(const Parcel& parcel, const Deadline& deadline) const;

  // Gets what a PutParcel() has put. What cannot be received is gone, but for
  // want of descriptors.
  absl::StatusOr<Parcel> GetParcel(const Deadline& deadline) const;

  // Writes a handle for a receiver that expects values of this type.
  void Encode(uint64_t fingerprint, Encoder& encoder) const;

  // Errors:
  //   kInvalidArgument  it is of another type than `element`, which has that
  //                     fingerprint.
  //   kDataLoss         it is no queue.
  static absl::StatusOr<QueueHandle> Decode(uint64_t fingerprint,
                                            absl::string_view element,
                                            Decoder& decoder);

  friend bool operator==(const QueueHandle&, const QueueHandle&) = default;

 private:
  struct State;

  explicit QueueHandle(std::shared_ptr<const State> state)
      : state_(std::move(state)) {}

  static absl::Status Closed(absl::string_view operation);
  absl::Status PutWithDescriptors(const Parcel& parcel,
                                  const Deadline& deadline) const;
  absl::StatusOr<bool> TryPutWithDescriptors(const Parcel& parcel,
                                             const Deadline& deadline) const;

  std::shared_ptr<const State> state_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_HANDLE_H_
