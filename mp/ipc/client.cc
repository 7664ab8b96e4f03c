#include "mp/ipc/client.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/handshake.h"
#include "mp/ipc/internal/run_handshake.h"
#include "mp/ipc/internal/stream_socket.h"

namespace mp {
namespace {

absl::StatusOr<Connection> Connect(const Address& address,
                                   const ClientOptions& options,
                                   absl::Duration timeout) {
  const Deadline deadline(timeout);
  MP_ASSIGN_OR_RETURN(Fd socket, internal::ConnectSocket(address, deadline));
  if (address.family() == Address::Family::kAbstract && !options.any_user &&
      !options.authkey.has_value()) {
    MP_RETURN_IF_ERROR(internal::CheckPeerUser(socket.get()));
  }
  MP_ASSIGN_OR_RETURN(Connection connection,
                      Connection::FromFd(std::move(socket)));
  if (options.authkey.has_value()) {
    internal::Handshake handshake(internal::Handshake::Role::kClient,
                                  *options.authkey,
                                  {.allow_md5 = options.allow_md5});
    MP_RETURN_IF_ERROR(internal::RunHandshake(
        connection, handshake,
        Deadline(std::min(deadline.Remaining(), options.handshake_timeout))));
  }
  return connection;
}

}  // namespace

absl::StatusOr<Connection> Client(const Address& address,
                                  const ClientOptions& options,
                                  absl::Duration timeout) {
  absl::StatusOr<Connection> connection = Connect(address, options, timeout);
  if (!connection.ok()) {
    return internal::WithOperation(
        absl::StrCat("Client(", address.ToString(), ")"), connection.status());
  }
  return connection;
}

}  // namespace mp
