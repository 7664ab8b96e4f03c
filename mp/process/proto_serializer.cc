#include "mp/process/proto_serializer.h"

#include <climits>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"

namespace mp::internal {
namespace {

// Its sizes are ints.
constexpr size_t kMaxMessageBytes = INT_MAX;

}  // namespace

void WriteMessage(const google::protobuf::MessageLite& message,
                  Encoder& encoder) {
  if (!message.IsInitialized()) {
    return encoder.Fail(absl::InvalidArgumentError(absl::StrCat(
        "Encoder::Write: the ", message.GetTypeName(),
        " lacks required fields: ", message.InitializationErrorString())));
  }
  const size_t size = message.ByteSizeLong();
  if (size > kMaxMessageBytes) {
    return encoder.Fail(absl::InvalidArgumentError(
        absl::StrCat("Encoder::Write: the ", message.GetTypeName(), " is ",
                     size, " bytes, a message is at most ", kMaxMessageBytes)));
  }
  encoder.WriteString(message.SerializePartialAsString());
}

absl::Status ReadMessage(google::protobuf::MessageLite& message,
                         Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const absl::string_view bytes, decoder.ReadString());
  // The partial form leaves it to us to complain, the other one logs.
  if (bytes.size() > kMaxMessageBytes ||
      !message.ParsePartialFromArray(bytes.data(),
                                     static_cast<int>(bytes.size()))) {
    return absl::DataLossError(
        absl::StrCat("Decoder: the bytes are no ", message.GetTypeName()));
  }
  if (!message.IsInitialized()) {
    return absl::DataLossError(absl::StrCat(
        "Decoder: the ", message.GetTypeName(),
        " lacks required fields: ", message.InitializationErrorString()));
  }
  return absl::OkStatus();
}

}  // namespace mp::internal
