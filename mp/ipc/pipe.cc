#include "mp/ipc/pipe.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/shared_end.h"

namespace mp {

absl::StatusOr<std::pair<Connection, Connection>> Pipe(bool duplex) {
  using Direction = Connection::Direction;
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  if (!duplex && (shutdown(sockets.first.get(), SHUT_WR) != 0 ||
                  shutdown(sockets.second.get(), SHUT_RD) != 0)) {
    return ErrnoStatus(errno, "shutdown");
  }
  MP_ASSIGN_OR_RETURN(auto shared, internal::SharedEnd::CreatePair());
  return std::pair(Connection(std::move(sockets.first),
                              duplex ? Direction::kBoth : Direction::kReadOnly,
                              std::move(shared.first)),
                   Connection(std::move(sockets.second),
                              duplex ? Direction::kBoth : Direction::kWriteOnly,
                              std::move(shared.second)));
}

}  // namespace mp
