#include "mp/ipc/internal/queue_handle.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_descriptors.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// In the flags of a message: it begins with a DescriptorsLabel.
constexpr uint32_t kHasDescriptors = 1;

// What Get() answers for a look at the front that takes nothing.
absl::Status OnlyLooked() { return absl::CancelledError(); }

// Drops what producers that died have left in the socket. The caller holds the
// put lock, and `published` messages have been put.
void DropLeftovers(QueueCore& core, const QueueDescriptors& descriptors,
                   uint64_t published) {
  // Without a message nobody receives.
  if (core.taken() == published) {
    return descriptors.Drop([](const DescriptorsLabel&) { return true; });
  }
  // Otherwise under the get lock, if it can be had now.
  (void)core.Get(Deadline(absl::ZeroDuration()),
                 [&](absl::string_view, uint32_t) {
                   const uint64_t taken = core.taken();
                   descriptors.Drop([&](const DescriptorsLabel& label) {
                     return label.number < taken || label.number >= published;
                   });
                   return OnlyLooked();
                 });
}

absl::StatusOr<Fd> ReadOptionalHandle(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const bool is_there, decoder.Read<bool>());
  return is_there ? decoder.ReadHandle() : Fd();
}

}  // namespace

struct QueueHandle::State {
  std::shared_ptr<QueueCore> core;
  std::optional<QueueDescriptors> descriptors;
};

absl::StatusOr<QueueHandle> QueueHandle::Create(const QueueOptions& options,
                                                bool with_descriptors) {
  auto state = std::make_shared<State>();
  MP_ASSIGN_OR_RETURN(state->core, QueueCore::Create(options));
  if (with_descriptors) {
    MP_ASSIGN_OR_RETURN(state->descriptors, QueueDescriptors::Create());
  }
  return QueueHandle(std::move(state));
}

absl::Status QueueHandle::Closed(absl::string_view operation) {
  return absl::FailedPreconditionError(
      absl::StrCat(operation, ": the handle is closed"));
}

QueueCore& QueueHandle::core() const { return *state_->core; }

absl::Status QueueHandle::PutParcel(const Parcel& parcel,
                                    const Deadline& deadline) const {
  if (!parcel.handles.empty()) return PutWithDescriptors(parcel, deadline);
  const absl::string_view bytes = parcel.bytes;
  return core().Put(absl::MakeConstSpan(&bytes, 1), 0, deadline);
}

absl::Status QueueHandle::PutWithDescriptors(const Parcel& parcel,
                                             const Deadline& deadline) const {
  if (!state_->descriptors.has_value()) {
    return absl::InvalidArgumentError(
        "Queue::Put: the queue carries no descriptors");
  }
  while (true) {
    MP_ASSIGN_OR_RETURN(const bool put,
                        TryPutWithDescriptors(parcel, deadline));
    if (put) return absl::OkStatus();
    MP_RETURN_IF_ERROR(state_->descriptors->AwaitRoom(deadline));
  }
}

// False says that the socket is full. The put lock is not kept meanwhile, as
// other messages need no room there.
absl::StatusOr<bool> QueueHandle::TryPutWithDescriptors(
    const Parcel& parcel, const Deadline& deadline) const {
  const QueueDescriptors& descriptors = *state_->descriptors;
  const size_t size = sizeof(DescriptorsLabel) + parcel.bytes.size();
  MP_ASSIGN_OR_RETURN(QueueCore::Reservation place,
                      core().Reserve(size, deadline));
  const uint64_t number = core().published();
  MP_ASSIGN_OR_RETURN(const DescriptorsLabel label,
                      NewDescriptorsLabel(number, parcel.handles.size()));
  MP_ASSIGN_OR_RETURN(bool sent, descriptors.TrySend(label, parcel.handles));
  if (!sent) {
    DropLeftovers(core(), descriptors, number);
    MP_ASSIGN_OR_RETURN(sent, descriptors.TrySend(label, parcel.handles));
    if (!sent) return false;
  }
  std::memcpy(place.bytes().data(), &label, sizeof(label));
  std::memcpy(place.bytes().data() + sizeof(label), parcel.bytes.data(),
              parcel.bytes.size());
  MP_RETURN_IF_ERROR(place.Commit(kHasDescriptors, size));
  return true;
}

absl::StatusOr<Parcel> QueueHandle::GetParcel(const Deadline& deadline) const {
  Parcel parcel;
  absl::Status received;
  const auto receive = [&](absl::string_view bytes) -> absl::Status {
    DescriptorsLabel label;
    if (bytes.size() < sizeof(label) || !state_->descriptors.has_value()) {
      return absl::DataLossError("Queue::Get: a message without its label");
    }
    std::memcpy(&label, bytes.data(), sizeof(label));
    MP_ASSIGN_OR_RETURN(parcel.handles, state_->descriptors->Receive(label));
    bytes.remove_prefix(sizeof(label));
    parcel.bytes.assign(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  const auto take = [&](absl::string_view bytes, uint32_t flags) {
    received = absl::OkStatus();
    if ((flags & kHasDescriptors) == 0) {
      parcel.bytes.assign(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    received = receive(bytes);
    // For want of descriptors it stays; otherwise it is taken, whatever it is.
    return absl::IsResourceExhausted(received) ? received : absl::OkStatus();
  };
  do {
    MP_RETURN_IF_ERROR(core().Get(deadline, take));
    // Its descriptors had gone with a process that died in Get().
  } while (absl::IsNotFound(received));
  MP_RETURN_IF_ERROR(received);
  return parcel;
}

void QueueHandle::Encode(uint64_t fingerprint, Encoder& encoder) const {
  if (closed()) return encoder.Fail(Closed("Queue: travel"));
  encoder.Write(fingerprint);
  encoder.WriteHandle(core().memory_fd());
  const bool with_event = core().event_fd() >= 0;
  encoder.Write(with_event);
  if (with_event) encoder.WriteHandle(core().event_fd());
  encoder.Write(state_->descriptors.has_value());
  if (!state_->descriptors.has_value()) return;
  encoder.WriteHandle(state_->descriptors->sending_fd());
  encoder.WriteHandle(state_->descriptors->receiving_fd());
}

absl::StatusOr<QueueHandle> QueueHandle::Decode(uint64_t fingerprint,
                                                absl::string_view element,
                                                Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto sent_as, decoder.Read<uint64_t>());
  if (sent_as != fingerprint) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Queue: what has arrived is of another type than ", element));
  }
  auto state = std::make_shared<State>();
  MP_ASSIGN_OR_RETURN(Fd memory, decoder.ReadHandle());
  MP_ASSIGN_OR_RETURN(Fd event, ReadOptionalHandle(decoder));
  MP_ASSIGN_OR_RETURN(const bool with_descriptors, decoder.Read<bool>());
  if (with_descriptors) {
    MP_ASSIGN_OR_RETURN(Fd sending, decoder.ReadHandle());
    MP_ASSIGN_OR_RETURN(Fd receiving, decoder.ReadHandle());
    state->descriptors.emplace(std::move(sending), std::move(receiving));
  }
  MP_ASSIGN_OR_RETURN(state->core,
                      QueueCore::Attach(std::move(memory), std::move(event)));
  return QueueHandle(std::move(state));
}

}  // namespace mp::internal
