#include "mp/ipc/internal/accepting.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/ipc/address.h"

namespace mp::internal {

absl::Status CheckHandshakeOptions(absl::Duration handshake_timeout,
                                   int max_handshakes) {
  if (handshake_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "handshake_timeout is ", absl::FormatDuration(handshake_timeout),
        ", it must be above 0"));
  }
  if (max_handshakes < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_handshakes is ", max_handshakes, ", at least 1 is needed"));
  }
  return absl::OkStatus();
}

absl::Status ListenerIsClosed() {
  return absl::FailedPreconditionError("the listener is closed");
}

absl::Status NoClientCame() {
  return absl::DeadlineExceededError("no client came in time");
}

const Address& NoAddress() {
  static const auto& none = *new Address;
  return none;
}

}  // namespace mp::internal
