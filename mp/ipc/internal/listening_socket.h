#ifndef MP_IPC_INTERNAL_LISTENING_SOCKET_H_
#define MP_IPC_INTERNAL_LISTENING_SOCKET_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/socket_file.h"

namespace mp::internal {

// A socket that listens at an address.
//
// Owns:    the socket, and its file if it has one.
// Threads: not safe.
// Source:  man 2 listen, man 2 accept.
class ListeningSocket {
 public:
  struct Options {
    // How many connections may wait to be accepted.
    int backlog = 128;

    // Listens where other machines can reach it.
    bool allow_remote = false;
  };

  struct Accepted {
    Fd socket;
    Address peer;
  };

  // Listens at an address; the default one is a new abstract name.
  //
  // Errors:
  //   kAlreadyExists      somebody listens there, or a file is in the way.
  //   kInvalidArgument    other machines can reach it, and may not; a bad
  //                       backlog; the address is none of this machine's.
  //   kNotFound           no such directory, no such host.
  //   kPermissionDenied   a directory that may not be written, a low port.
  //   kResourceExhausted  no descriptor left.
  static absl::StatusOr<ListeningSocket> Create(const Address& address,
                                                const Options& options);

  // Takes over a stream socket that listens already. Its file, if it has one,
  // stays when this goes.
  //
  // Errors:
  //   kInvalidArgument  it is no such socket, or as above.
  static absl::StatusOr<ListeningSocket> Adopt(Fd socket,
                                               const Options& options);

  // Returns the next connection that waits; nullopt if none does.
  //
  // Errors:
  //   kResourceExhausted  no descriptor or memory left; it goes on waiting.
  absl::StatusOr<std::optional<Accepted>> TryAccept();

  int fd() const { return socket_.get(); }

  // Where it really listens, in numbers.
  const Address& address() const { return address_; }

 private:
  ListeningSocket(Fd socket, Address address, std::optional<SocketFile> file);

  Fd socket_;
  Address address_;
  std::optional<SocketFile> file_;  // after the socket: it goes first
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_LISTENING_SOCKET_H_
