#include "mp/ipc/internal/run_handshake.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/handshake.h"

namespace mp::internal {
namespace {

// What an error of the connection says about the other end of a handshake.
absl::Status Explain(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(
          "the other end closed the connection in the handshake; its side may "
          "tell why");
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError(
          "the other end went on with no handshake in time; has it a key?");
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kResourceExhausted:
      return absl::UnauthenticatedError(absl::StrCat(
          "the other end sent what is no handshake: ", status.message()));
    default:
      return status;
  }
}

}  // namespace

absl::Status SendOfHandshake(Connection& connection, const std::string& message,
                             const Deadline& deadline) {
  if (message.empty()) return absl::OkStatus();
  return Explain(connection.SendBytes(message, deadline.Remaining()));
}

absl::Status StepHandshake(Connection& connection, Handshake& handshake,
                           const Deadline& deadline) {
  const absl::StatusOr<std::string> message =
      connection.RecvBytes(deadline.Remaining(), kMaxHandshakeBytes);
  MP_RETURN_IF_ERROR(Explain(message.status()));
  const std::string reply = handshake.Receive(*message);
  const absl::Status sent = SendOfHandshake(connection, reply, deadline);
  // What the handshake found is worth more than that nobody heard of it.
  if (handshake.finished()) MP_RETURN_IF_ERROR(handshake.status());
  return sent;
}

absl::Status RunHandshake(Connection& connection, Handshake& handshake,
                          const Deadline& deadline) {
  MP_RETURN_IF_ERROR(SendOfHandshake(connection, handshake.Start(), deadline));
  while (!handshake.finished()) {
    MP_RETURN_IF_ERROR(StepHandshake(connection, handshake, deadline));
  }
  return handshake.status();
}

}  // namespace mp::internal
