#ifndef MP_IPC_INTERNAL_STREAM_SOCKET_H_
#define MP_IPC_INTERNAL_STREAM_SOCKET_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/socket_address.h"

namespace mp::internal {

// Makes a stream socket, close-on-exec and none of stdin, stdout and stderr.
// `flags` is SOCK_NONBLOCK or 0.
absl::StatusOr<Fd> CreateStreamSocket(int domain, int flags);

// Has a TCP socket send small messages at once, and ask from time to time
// whether the machine at the other end is still there. No-op on others.
//
// Source: man 7 tcp, TCP_NODELAY, TCP_KEEPIDLE.
void PrepareTcp(int socket);

// Connects to a listener. Waits while its backlog is full.
//
// Errors:
//   kUnavailable       nobody listens there.
//   kNotFound          there is no such socket file, or no such host.
//   kPermissionDenied  the socket file may not be written.
//   kDeadlineExceeded  the listener did not take the connection in time.
//   kInvalidArgument   it is the default address, which is that of no listener.
// Source: man 2 connect.
absl::StatusOr<Fd> ConnectSocket(const Address& address,
                                 const Deadline& deadline);

// Returns kPermissionDenied unless the process at the other end of a connected
// Unix socket had, when it connected or listened, our user or root's.
//
// Source: man 7 unix, SO_PEERCRED.
absl::Status CheckPeerUser(int socket);

// Puts "OPERATION: " before the message of an error.
absl::Status WithOperation(absl::string_view operation,
                           const absl::Status& status);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_STREAM_SOCKET_H_
