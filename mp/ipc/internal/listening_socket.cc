#include "mp/ipc/internal/listening_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/socket_address.h"
#include "mp/ipc/internal/socket_file.h"
#include "mp/ipc/internal/stream_socket.h"

namespace mp::internal {
namespace {

using Options = ListeningSocket::Options;

absl::Status CheckReach(const SocketAddress& at, const Options& options) {
  if (options.allow_remote || at.IsLocal()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "other machines can reach this address, and there is no key to tell "
      "friends by; set .authkey, or listen at localhost");
}

absl::Status BindError(int error) {
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError("another listener is there");
    case EADDRNOTAVAIL:
      return absl::InvalidArgumentError("the host is none of this machine's");
    default:
      return ErrnoStatus(error, "bind");
  }
}

// Returns where a socket is bound.
absl::StatusOr<SocketAddress> BoundAddress(int socket) {
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&bound.storage),
                  &bound.size) != 0) {
    return ErrnoStatus(errno, "getsockname");
  }
  return bound;
}

absl::Status BindAndListen(int socket, const SocketAddress& at, int backlog) {
  const int reuse = 1;
  // For TCP, where the connections of an earlier listener may linger.
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
  if (bind(socket, at.get(), at.size) != 0) return BindError(errno);
  // A port that was free for bind() may still be taken for listen().
  if (listen(socket, backlog) != 0) return BindError(errno);
  return absl::OkStatus();
}

// What has been accepted may have an error of its own by then, which is no
// matter of the listener's: man 2 accept, "Error handling".
bool IsErrorOfThePeer(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

int OptionOf(int socket, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  return getsockopt(socket, SOL_SOCKET, option, &value, &size) == 0 ? value
                                                                    : -1;
}

}  // namespace

ListeningSocket::ListeningSocket(Fd socket, Address address,
                                 std::optional<SocketFile> file)
    : socket_(std::move(socket)),
      address_(std::move(address)),
      file_(std::move(file)) {}

absl::StatusOr<ListeningSocket> ListeningSocket::Create(
    const Address& address, const Options& options) {
  if (options.backlog < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("backlog is ", options.backlog, ", at least 1 is needed"));
  }
  const Address at = address.name().empty() ? NewAbstractAddress() : address;
  MP_ASSIGN_OR_RETURN(const std::vector<SocketAddress> candidates, Resolve(at));
  const SocketAddress& first = candidates.front();
  MP_RETURN_IF_ERROR(CheckReach(first, options));
  MP_ASSIGN_OR_RETURN(Fd socket,
                      CreateStreamSocket(first.domain(), SOCK_NONBLOCK));
  if (at.family() == Address::Family::kUnix) {
    MP_ASSIGN_OR_RETURN(SocketFile bound,
                        SocketFile::BindAndListen(socket.get(), first,
                                                  at.name(), options.backlog));
    return ListeningSocket(std::move(socket), at, std::move(bound));
  }
  MP_RETURN_IF_ERROR(BindAndListen(socket.get(), first, options.backlog));
  MP_ASSIGN_OR_RETURN(const SocketAddress bound, BoundAddress(socket.get()));
  return ListeningSocket(std::move(socket), bound.ToAddress(), std::nullopt);
}

absl::StatusOr<ListeningSocket> ListeningSocket::Adopt(Fd socket,
                                                       const Options& options) {
  if (OptionOf(socket.get(), SO_TYPE) != SOCK_STREAM ||
      OptionOf(socket.get(), SO_ACCEPTCONN) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "descriptor ", socket.get(), " is no stream socket that listens"));
  }
  MP_ASSIGN_OR_RETURN(const SocketAddress bound, BoundAddress(socket.get()));
  MP_RETURN_IF_ERROR(CheckReach(bound, options));
  // Somebody else who has it too may be faster than we between poll and accept.
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "fcntl");
  }
  return ListeningSocket(std::move(socket), bound.ToAddress(), std::nullopt);
}

absl::StatusOr<std::optional<ListeningSocket::Accepted>>
ListeningSocket::TryAccept() {
  SocketAddress peer;
  while (true) {
    peer.size = sizeof(peer.storage);
    Fd socket(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&peer.storage),
                      &peer.size, SOCK_CLOEXEC));
    if (socket.is_open()) {
      if (peer.domain() != AF_UNIX) PrepareTcp(socket.get());
      return Accepted{Fd::AboveStdio(std::move(socket)), peer.ToAddress()};
    }
    if (errno == EAGAIN) return std::nullopt;
    if (!IsErrorOfThePeer(errno)) return ErrnoStatus(errno, "accept4");
  }
}

}  // namespace mp::internal
