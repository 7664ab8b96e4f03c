#ifndef MP_PROCESS_PROTO_SERIALIZER_H_
#define MP_PROCESS_PROTO_SERIALIZER_H_

#include <concepts>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

// Protobuf messages travel to another process where this is included.
//
// Errors of the sender, kInvalidArgument: a required field is not set; the
// message takes more than 2 GiB - 1 byte, the most that Protobuf can read.
//
// Errors of the receiver, kDataLoss: the bytes are no message of the type, or a
// required field is missing.

namespace mp {
namespace internal {

void WriteMessage(const google::protobuf::MessageLite& message,
                  Encoder& encoder);
absl::Status ReadMessage(google::protobuf::MessageLite& message,
                         Decoder& decoder);

}  // namespace internal

template <std::derived_from<google::protobuf::MessageLite> T>
struct Serializer<T> {
  static void Encode(const T& message, Encoder& encoder) {
    internal::WriteMessage(message, encoder);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    T message;
    MP_RETURN_IF_ERROR(internal::ReadMessage(message, decoder));
    return message;
  }
};

}  // namespace mp

#endif  // MP_PROCESS_PROTO_SERIALIZER_H_
