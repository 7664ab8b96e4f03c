#ifndef MP_POOL_INTERNAL_WORKER_MESSAGE_H_
#define MP_POOL_INTERNAL_WORKER_MESSAGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp {
namespace internal {

// What a pool says to a worker.
//
// Shape: encoded, small; what is long in it goes as the descriptor of a memfd,
// so that a socket's buffer holds some, and nobody waits.
struct ToWorker {
  enum class Kind : uint8_t {
    kInitializer,  // a call, or nothing; the first message
    kJob,          // the job that the next runs call
    kForgetJob,
    kRun,
    kRetire,
  };
  Kind kind = Kind::kRetire;
  JobId job = 0;
  RunId run = 0;
  uint64_t first = 0;      // of its items
  uint64_t items = 0;      // how many
  uint64_t number = 0;     // of the runs of this worker; see WorkerBoard
  bool has_limit = false;  // so that its beginnings are told
  Parcel parcel;           // a PackedRun, where it is a run

  // Where a worker has it: the parcel is still in the socket.
  bool is_in_socket = false;
};

// What a worker says to its pool.
struct FromWorker {
  enum class Kind : uint8_t {
    kReady,
    kRefused,  // its initializer failed
    kBegun,
    kDone,
    kRanAllUpTo,
  };
  Kind kind = Kind::kReady;
  RunItem item;
  Outcome outcome = Parcel();
};

// A parcel that lies somewhere else.
struct ParcelView {
  ParcelView() = default;
  ParcelView(const Parcel& parcel)  // NOLINT(google-explicit-constructor)
      : bytes(parcel.bytes), handles(parcel.handles) {}
  ParcelView(absl::string_view bytes, absl::Span<const Fd> handles)
      : bytes(bytes), handles(handles) {}

  absl::string_view bytes;
  absl::Span<const Fd> handles;
};

// How a message lies in a ring. Its bytes follow the head.
enum class RingForm : uint8_t {
  kPlain,     // those of its parcel, which has no descriptors
  kEncoded,   // those of an Encoder
  kBySocket,  // none: the next message of the socket is this one
};

// The bytes of a message that lie in a ring; longer ones go by the socket, as
// do those with descriptors.
inline constexpr size_t kMaxInRing = size_t{32} << 10;

// The heads, whose fields may be any when they come from a worker.
struct ToWorkerHead {
  RingForm form;
  ToWorker::Kind kind;
  uint8_t has_limit;
  JobId job;
  RunId run;
  uint64_t first;
  uint64_t items;
  uint64_t number;
};
struct FromWorkerHead {
  RingForm form;
  FromWorker::Kind kind;
  RunId run;
  uint64_t item;
};

// Writes a parcel within another one.
void WriteParcel(const Parcel& parcel, Encoder& encoder);
absl::StatusOr<Parcel> ReadParcel(Decoder& decoder);

}  // namespace internal

template <>
struct Serializer<internal::ToWorker> {
  static void Encode(const internal::ToWorker& message, Encoder& encoder);
  static absl::StatusOr<internal::ToWorker> Decode(Decoder& decoder);
};

template <>
struct Serializer<internal::FromWorker> {
  static void Encode(const internal::FromWorker& message, Encoder& encoder);
  static absl::StatusOr<internal::FromWorker> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_POOL_INTERNAL_WORKER_MESSAGE_H_
