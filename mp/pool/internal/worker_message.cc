#include "mp/pool/internal/worker_message.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/memfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp {
namespace internal {
namespace {

// A Unix socket's buffer holds some of such messages.
constexpr size_t kMaxInline = size_t{16} << 10;

// A status may be long, too.
void WriteStatus(const absl::Status& status, Encoder& outer) {
  Encoder encoder;
  encoder.Write(status);
  const absl::StatusOr<Parcel> parcel = std::move(encoder).Finish();
  if (!parcel.ok()) return outer.Fail(parcel.status());
  WriteParcel(*parcel, outer);
}

}  // namespace

void WriteParcel(const Parcel& parcel, Encoder& encoder) {
  const bool is_long = parcel.bytes.size() > kMaxInline;
  encoder.Write(is_long);
  if (is_long) {
    const absl::StatusOr<Fd> file =
        CreateSealedMemfd("mp-pool-message", parcel.bytes);
    if (!file.ok()) return encoder.Fail(file.status());
    encoder.WriteHandle(file->get());
  } else {
    encoder.WriteString(parcel.bytes);
  }
  encoder.WriteCount(parcel.handles.size());
  for (const Fd& fd : parcel.handles) {
    encoder.Write(uint8_t{0});  // a count is held against the bytes that follow
    encoder.WriteHandle(fd.get());
  }
}

absl::StatusOr<Parcel> ReadParcel(Decoder& decoder) {
  Parcel parcel;
  MP_ASSIGN_OR_RETURN(const bool is_long, decoder.Read<bool>());
  if (is_long) {
    MP_ASSIGN_OR_RETURN(const Fd file, decoder.ReadHandle());
    MP_ASSIGN_OR_RETURN(
        parcel.bytes,
        ReadSealedMemfd(file, std::numeric_limits<size_t>::max()));
  } else {
    MP_ASSIGN_OR_RETURN(const auto bytes, decoder.ReadString());
    parcel.bytes = std::string(bytes);
  }
  MP_ASSIGN_OR_RETURN(const size_t handles, decoder.ReadCount());
  for (size_t i = 0; i < handles; ++i) {
    MP_RETURN_IF_ERROR(decoder.Read<uint8_t>().status());
    MP_ASSIGN_OR_RETURN(Fd fd, decoder.ReadHandle());
    parcel.handles.push_back(std::move(fd));
  }
  return parcel;
}

}  // namespace internal

void Serializer<internal::ToWorker>::Encode(const internal::ToWorker& message,
                                            Encoder& encoder) {
  encoder.Write(message.kind);
  encoder.Write(message.job);
  encoder.Write(message.run);
  encoder.Write(message.first);
  encoder.Write(message.items);
  encoder.Write(message.number);
  encoder.Write(message.has_limit);
  internal::WriteParcel(message.parcel, encoder);
}

absl::StatusOr<internal::ToWorker> Serializer<internal::ToWorker>::Decode(
    Decoder& decoder) {
  using internal::ToWorker;
  ToWorker message;
  MP_ASSIGN_OR_RETURN(message.kind, decoder.Read<ToWorker::Kind>());
  if (message.kind > ToWorker::Kind::kRetire) {
    return absl::DataLossError("no message to a pool's worker");
  }
  MP_ASSIGN_OR_RETURN(message.job, decoder.Read<internal::JobId>());
  MP_ASSIGN_OR_RETURN(message.run, decoder.Read<internal::RunId>());
  MP_ASSIGN_OR_RETURN(message.first, decoder.Read<uint64_t>());
  MP_ASSIGN_OR_RETURN(message.items, decoder.Read<uint64_t>());
  MP_ASSIGN_OR_RETURN(message.number, decoder.Read<uint64_t>());
  MP_ASSIGN_OR_RETURN(message.has_limit, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(message.parcel, internal::ReadParcel(decoder));
  return message;
}

void Serializer<internal::FromWorker>::Encode(
    const internal::FromWorker& message, Encoder& encoder) {
  encoder.Write(message.kind);
  encoder.Write(message.item.run);
  encoder.Write(message.item.item);
  encoder.Write(message.outcome.ok());
  if (message.outcome.ok()) {
    internal::WriteParcel(*message.outcome, encoder);
  } else {
    internal::WriteStatus(message.outcome.status(), encoder);
  }
}

absl::StatusOr<internal::FromWorker> Serializer<internal::FromWorker>::Decode(
    Decoder& decoder) {
  using internal::FromWorker;
  FromWorker message;
  MP_ASSIGN_OR_RETURN(message.kind, decoder.Read<FromWorker::Kind>());
  if (message.kind > FromWorker::Kind::kRanAllUpTo) {
    return absl::DataLossError("no message of a pool's worker");
  }
  MP_ASSIGN_OR_RETURN(message.item.run, decoder.Read<internal::RunId>());
  MP_ASSIGN_OR_RETURN(message.item.item, decoder.Read<uint64_t>());
  MP_ASSIGN_OR_RETURN(const bool ok, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(Parcel parcel, internal::ReadParcel(decoder));
  if (ok) {
    message.outcome = std::move(parcel);
    return message;
  }
  Decoder inner(std::move(parcel));
  MP_ASSIGN_OR_RETURN(StatusValue status, inner.Read<absl::Status>());
  if (status.status.ok()) return absl::DataLossError("no status of an item");
  message.outcome = std::move(status.status);
  return message;
}

}  // namespace mp
