#ifndef MP_PROCESS_INTERNAL_SERIALIZE_ABSL_H_
#define MP_PROCESS_INTERNAL_SERIALIZE_ABSL_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "absl/utility/utility.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {

template <>
struct Serializer<absl::Duration> {
  static void Encode(absl::Duration value, Encoder& encoder);
  static absl::StatusOr<absl::Duration> Decode(Decoder& decoder);
};

template <>
struct Serializer<absl::Time> {
  static void Encode(absl::Time value, Encoder& encoder);
  static absl::StatusOr<absl::Time> Decode(Decoder& decoder);
};

template <>
struct Serializer<absl::Cord> {
  static void Encode(const absl::Cord& value, Encoder& encoder);
  static absl::StatusOr<absl::Cord> Decode(Decoder& decoder);
};

template <>
struct Serializer<absl::Status> {
  static void Encode(const absl::Status& value, Encoder& encoder);
  static absl::StatusOr<StatusValue> Decode(Decoder& decoder);
};

template <typename T>
struct Serializer<absl::StatusOr<T>> {
  static void Encode(const absl::StatusOr<T>& value, Encoder& encoder) {
    encoder.Write(value.status());
    if (value.ok()) encoder.Write(*value);
  }
  static absl::StatusOr<absl::StatusOr<T>> Decode(Decoder& decoder) {
    using Value = absl::StatusOr<T>;
    MP_ASSIGN_OR_RETURN(absl::Status status, decoder.Read<absl::Status>());
    if (!status.ok()) {
      return absl::StatusOr<Value>(absl::in_place, std::move(status));
    }
    MP_ASSIGN_OR_RETURN(T value, decoder.Read<T>());
    return absl::StatusOr<Value>(absl::in_place, std::move(value));
  }
};

}  // namespace mp

#endif  // MP_PROCESS_INTERNAL_SERIALIZE_ABSL_H_
