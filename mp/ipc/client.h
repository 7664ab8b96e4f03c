#ifndef MP_IPC_CLIENT_H_
#define MP_IPC_CLIENT_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/ipc/address.h"
#include "mp/ipc/auth.h"
#include "mp/ipc/connection.h"
#include "mp/process/auth_key.h"

namespace mp {

struct ClientOptions {
  // The key that the listener has too, and has to prove to have. Default: none,
  // and no handshake. The key of all processes of a program:
  // CurrentProcess().authkey.
  std::optional<AuthKey> authkey = std::nullopt;

  // Talks to CPython before 3.12, whose handshake is by MD5.
  bool allow_md5 = false;

  // How long the listener may take for the handshake, of which its next
  // Accept() is a part.
  absl::Duration handshake_timeout = kDefaultHandshakeTimeout;

  // Takes an abstract socket, which anybody can make, for the listener even if
  // it is another user's and there is no key.
  bool any_user = false;
};

// Connects to a Listener, which may be one of CPython's.
//
// Example:
//   MP_ASSIGN_OR_RETURN(
//       Connection connection,
//       mp::Client(address, {.authkey = CurrentProcess().authkey}));
//   MP_RETURN_IF_ERROR(connection.Send(42));
//
// It does not try again if nobody listens, but waits while the backlog of one
// who does is full. With a listener that has no key the connection is there
// before the listener's Accept().
//
// Errors:
//   kUnavailable        nobody listens there, or went away in the handshake.
//   kNotFound           there is no such socket file, or no such host.
//   kUnauthenticated    the listener has another key, none, or only MD5.
//   kDeadlineExceeded   the listener took no connection in `timeout`, or
//                       finished no handshake in that of the options.
//   kPermissionDenied   the socket may not be written, or is another user's.
//   kInvalidArgument    the address is that of no listener.
//   kResourceExhausted  no descriptor left.
// Source: CPython multiprocessing.connection.Client(). Differs: IPv6, timeouts.
absl::StatusOr<Connection> Client(
    const Address& address, const ClientOptions& options = {},
    absl::Duration timeout = absl::InfiniteDuration());

}  // namespace mp

#endif  // MP_IPC_CLIENT_H_
