#ifndef MP_IPC_INTERNAL_RUN_HANDSHAKE_H_
#define MP_IPC_INTERNAL_RUN_HANDSHAKE_H_

#include <string>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/handshake.h"

namespace mp::internal {

// Runs a handshake from its start to its end.
//
// Errors: those of handshake.status(), and
//   kDeadlineExceeded  the other end said nothing in time.
//   kUnavailable       it is gone.
//   kUnauthenticated   it sends what is no message, or too long a one.
absl::Status RunHandshake(Connection& connection, Handshake& handshake,
                          const Deadline& deadline);

// One step: receives a message, sends what is to be said then. kDeadlineExceeded
// if no message was there yet: call it again. Other errors: as above.
absl::Status StepHandshake(Connection& connection, Handshake& handshake,
                           const Deadline& deadline);

// Sends a message of a handshake, unless it is empty.
absl::Status SendOfHandshake(Connection& connection, const std::string& message,
                             const Deadline& deadline);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_RUN_HANDSHAKE_H_
