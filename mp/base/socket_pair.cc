#include "mp/base/socket_pair.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"

namespace mp {

absl::StatusOr<SocketPair> CreateSocketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  Fd first = Fd::AboveStdio(Fd(ends[0]));
  return SocketPair(std::move(first), Fd::AboveStdio(Fd(ends[1])));
}

}  // namespace mp
