#include "mp/ipc/internal/stream_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/socket_address.h"

namespace mp::internal {
namespace {

// A machine that says nothing for kKeepIdle is asked every kKeepInterval, and
// taken for dead after kKeepCount questions. In seconds.
constexpr int kKeepIdle = 5;
constexpr int kKeepInterval = 1;
constexpr int kKeepCount = 5;

void SetInt(int socket, int level, int option, int value) {
  // What cannot be set is done without.
  setsockopt(socket, level, option, &value, sizeof(value));
}

absl::Status TimedOut() {
  return absl::DeadlineExceededError(
      "the listener did not take the connection in time");
}

absl::Status ConnectError(int error) {
  switch (error) {
    case ECONNREFUSED:
      return absl::UnavailableError("nobody listens there");
    case EPROTOTYPE:
      return absl::InvalidArgumentError("it is no stream socket");
    default:
      return ErrnoStatus(error, "connect");
  }
}

// Limits how long connect() waits, on a Unix socket.
void SetSendTimeout(int socket, absl::Duration timeout) {
  timeval limit = {};  // for ever
  if (timeout != absl::InfiniteDuration()) {
    limit = absl::ToTimeval(std::max(timeout, absl::Microseconds(1)));
  }
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

// A Unix socket whose listener has a full backlog cannot be polled for room:
// only a connect() that blocks waits for it.
absl::StatusOr<Fd> ConnectUnix(const SocketAddress& to,
                               const Deadline& deadline) {
  MP_ASSIGN_OR_RETURN(Fd socket, CreateStreamSocket(AF_UNIX, 0));
  int error;
  do {
    SetSendTimeout(socket.get(), deadline.Remaining());
    error = connect(socket.get(), to.get(), to.size) == 0 ? 0 : errno;
  } while (error == EINTR || (error == EAGAIN && !deadline.Expired()));
  if (error == EAGAIN) return TimedOut();
  if (error != 0) return ConnectError(error);
  SetSendTimeout(socket.get(), absl::InfiniteDuration());
  return socket;
}

// Waits for the end of a connect() that has begun.
absl::Status AwaitConnected(int socket, const Deadline& deadline) {
  MP_ASSIGN_OR_RETURN(const bool ready, WaitForFd(socket, POLLOUT, deadline));
  if (!ready) return TimedOut();
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    error = errno;
  }
  return error == 0 ? absl::OkStatus() : ConnectError(error);
}

// A port that nobody listens at may be given to the very socket that connects
// to it, which then is connected to itself.
bool IsConnectedToItself(int socket, const SocketAddress& to) {
  SocketAddress own;
  own.size = sizeof(own.storage);
  return getsockname(socket, reinterpret_cast<sockaddr*>(&own.storage),
                     &own.size) == 0 &&
         own.ToAddress() == to.ToAddress();
}

absl::StatusOr<Fd> ConnectTcp(const SocketAddress& to,
                              const Deadline& deadline) {
  MP_ASSIGN_OR_RETURN(Fd socket,
                      CreateStreamSocket(to.domain(), SOCK_NONBLOCK));
  // Interrupted by a signal it goes on all the same.
  if (connect(socket.get(), to.get(), to.size) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return ConnectError(errno);
    MP_RETURN_IF_ERROR(AwaitConnected(socket.get(), deadline));
  }
  if (IsConnectedToItself(socket.get(), to)) return ConnectError(ECONNREFUSED);
  if (fcntl(socket.get(), F_SETFL, 0) != 0) return ErrnoStatus(errno, "fcntl");
  PrepareTcp(socket.get());
  return socket;
}

}  // namespace

absl::StatusOr<Fd> CreateStreamSocket(int domain, int flags) {
  Fd socket(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!socket.is_open()) return ErrnoStatus(errno, "socket");
  return Fd::AboveStdio(std::move(socket));
}

void PrepareTcp(int socket) {
  SetInt(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  SetInt(socket, IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdle);
  SetInt(socket, IPPROTO_TCP, TCP_KEEPINTVL, kKeepInterval);
  SetInt(socket, IPPROTO_TCP, TCP_KEEPCNT, kKeepCount);
  SetInt(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
}

absl::StatusOr<Fd> ConnectSocket(const Address& address,
                                 const Deadline& deadline) {
  if (address.name().empty()) {
    return absl::InvalidArgumentError(
        "the address is that of no listener; take Listener::address()");
  }
  MP_ASSIGN_OR_RETURN(const std::vector<SocketAddress> candidates,
                      Resolve(address));
  absl::StatusOr<Fd> socket = absl::UnavailableError("");
  for (const SocketAddress& to : candidates) {
    socket = to.domain() == AF_UNIX ? ConnectUnix(to, deadline)
                                    : ConnectTcp(to, deadline);
    if (socket.ok()) break;
  }
  return socket;
}

absl::Status CheckPeerUser(int socket) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return ErrnoStatus(errno, "getsockopt(SO_PEERCRED)");
  }
  if (peer.uid == geteuid() || peer.uid == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "process ", peer.pid, " at the other end has user ", peer.uid,
      ", this one ", geteuid(), "; set .authkey on both sides, or .any_user"));
}

absl::Status WithOperation(absl::string_view operation,
                           const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(operation, ": ", status.message()));
}

}  // namespace mp::internal
