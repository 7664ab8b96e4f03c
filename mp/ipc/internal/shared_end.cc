#include "mp/ipc/internal/shared_end.h"

#include <limits.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/shared_turn.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/serializer.h"
#include "mp/sync/internal/placed.h"

namespace mp::internal {

absl::StatusOr<std::pair<SharedEnd, SharedEnd>> SharedEnd::CreatePair() {
  MP_ASSIGN_OR_RETURN(auto placed, Placed<SharedEndsState>::Create());
  return std::pair(SharedEnd(placed, 0, true), SharedEnd(placed, 1, true));
}

absl::StatusOr<SharedEnd> SharedEnd::CreateOne() {
  MP_ASSIGN_OR_RETURN(auto placed, Placed<SharedEndsState>::Create());
  return SharedEnd(std::move(placed), 0, false);
}

void SharedEnd::Encode(Encoder& encoder) const {
  encoder.Write(static_cast<uint8_t>(side_));
  encoder.Write(is_pair_);
  placed_.Encode(encoder, "Connection");
}

absl::StatusOr<SharedEnd> SharedEnd::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto side, decoder.Read<uint8_t>());
  if (side > 1) {
    return absl::DataLossError(
        absl::StrCat("Decoder: a Connection has two ends, this is ", side));
  }
  MP_ASSIGN_OR_RETURN(const bool is_pair, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(auto placed, Placed<SharedEndsState>::Decode(decoder));
  return SharedEnd(std::move(placed), side, is_pair);
}

size_t AtomicBytesOf(int stream) {
  constexpr int kMostAtOnce = 32 << 10;
  int domain = AF_UNSPEC;
  socklen_t size = sizeof(domain);
  if (getsockopt(stream, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) {
    return PIPE_BUF;
  }
  int buffer = 0;
  size = sizeof(buffer);
  if (domain != AF_UNIX ||
      getsockopt(stream, SOL_SOCKET, SO_SNDBUF, &buffer, &size) != 0) {
    return 0;
  }
  return static_cast<size_t>(std::clamp(buffer / 2 - 64, 0, kMostAtOnce));
}

absl::Status EndTurn::CheckOtherEnd() {
  if (!other_.has_value()) return absl::OkStatus();
  const SharedTurn::Cut cut = other_->Look();
  if (cut.cause == SharedTurn::Cause::kNone) return absl::OkStatus();
  const absl::string_view how =
      cut.cause == SharedTurn::Cause::kDied ? " ended" : " gave up";
  if (way_ == Way::kSend) {
    return absl::UnavailableError(
        absl::StrCat("the other end is cut: process ", cut.pid, how,
                     " in the middle of receiving a message"));
  }
  return absl::DataLossError(absl::StrCat("the message is cut: process ",
                                          cut.pid, how,
                                          " in the middle of sending it"));
}

}  // namespace mp::internal
