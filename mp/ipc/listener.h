#ifndef MP_IPC_LISTENER_H_
#define MP_IPC_LISTENER_H_

#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/ipc/address.h"
#include "mp/ipc/auth.h"
#include "mp/ipc/connection.h"
#include "mp/process/auth_key.h"

namespace mp {

namespace internal {
class ListeningSocket;
}  // namespace internal

struct ListenerOptions {
  // How many clients may wait for an Accept() to begin with them. Others wait
  // to connect.
  int backlog = 128;

  // The key that clients must prove to have, and are proved that this side has.
  // Default: none; any process that can reach the address is welcome. The key
  // of all processes of a program: CurrentProcess().authkey.
  std::optional<AuthKey> authkey = std::nullopt;

  // Lets CPython before 3.12 in, whose handshake is by MD5.
  bool allow_md5 = false;

  // How long a client may take for the handshake.
  absl::Duration handshake_timeout = kDefaultHandshakeTimeout;

  // How many clients may be in the handshake at once, each with a descriptor.
  // With so many silent ones, others wait for a handshake_timeout.
  int max_handshakes = 64;

  // Lets processes of other users than this one's and root in through an
  // abstract socket, which has no permissions, though there is no key.
  bool any_user = false;
};

// Waits at an address for clients to connect.
//
// Example:
//   MP_ASSIGN_OR_RETURN(Listener listener, Listener::Create());
//   mp::Process p(Work, listener.address());
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_ASSIGN_OR_RETURN(Connection connection, listener.Accept());
//
//   // For programs elsewhere, Python's among them.
//   MP_ASSIGN_OR_RETURN(Address address, Address::Parse("0.0.0.0:6000"));
//   MP_ASSIGN_OR_RETURN(Listener listener,
//                       Listener::Create(address, {.authkey = key}));
//   while (true) {
//     absl::StatusOr<Connection> client = listener.Accept();
//     if (absl::IsUnauthenticated(client.status())) continue;
//     ...
//   }
//
// Clients that are slow in the handshake, or silent, do not hold up others:
// Accept() deals with all of them at once, and returns the first that is
// through.
//
// Shape:   the default address is an abstract Unix socket of a new name.
// Owns:    the socket, and the file if the address has one: it goes with
//          Close(), at exit, and not if it is another one's by now.
// Threads: safe from several: each client goes to one Accept(). Close() ends
//          those that wait. Moves are for one thread alone.
// Fork:    belongs to the process that made it; a child of the start method
//          fork finds it closed. A process elsewhere can have its descriptor,
//          as an mp::Fd, and make a Listener of that with FromFd().
// Death:   a killed listener leaves no trace but a socket file, if its address
//          has one; that is replaced by the next Create(). A client that dies
//          in the handshake costs nobody anything.
// Source:  CPython multiprocessing.connection.Listener. Differs: IPv6, timeouts,
//          other clients during a handshake, no address outside this machine
//          without a key.
class Listener {
 public:
  using Options = ListenerOptions;

  // Listens at an address.
  //
  // Errors:
  //   kAlreadyExists      somebody listens there, or something is in the way
  //                       that is no socket file left behind by our user.
  //   kInvalidArgument    other machines can reach the address and there is no
  //                       key; an option is out of its range; the host is none
  //                       of this machine's.
  //   kNotFound           no such directory, no such host.
  //   kPermissionDenied   a directory that may not be written, a low port.
  //   kResourceExhausted  no descriptor left.
  static absl::StatusOr<Listener> Create(const Address& address = {},
                                         const Options& options = {});

  // Takes over a stream socket that listens already: from an init system, or
  // from another process, which may go on to accept from it too. It is made
  // non-blocking for all who have it. Its file stays at Close().
  //
  // Errors:
  //   kInvalidArgument  it is no such socket; or as above.
  static absl::StatusOr<Listener> FromFd(Fd socket,
                                         const Options& options = {});

  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Waits for a client, and for its handshake if there is a key.
  //
  // Errors:
  //   kDeadlineExceeded    none came in time, or none is through. Those in the
  //                        handshake go on with it in the next call.
  //   kUnauthenticated     one came that has another key, none, or only MD5, or
  //                        did not finish in time, or is another user's. It is
  //                        gone; call Accept() again.
  //   kResourceExhausted   no descriptor left. The client still waits; this
  //                        took 50 ms, so that a loop around it does not spin.
  //   kFailedPrecondition  the listener is closed.
  // Source: CPython Listener.accept().
  absl::StatusOr<Connection> Accept(
      absl::Duration timeout = absl::InfiniteDuration());

  // Returns where it listens: with the name or port that it was given, and the
  // host as a number. Also after Close().
  const Address& address() const;

  // Returns where the client of the last Accept() connected from. On a Unix
  // socket it has no name.
  std::optional<Address> last_accepted() const;

  // Stops to listen. Clients that wait are refused. May be called again.
  void Close();

  bool closed() const;

  // Returns a descriptor, which stays owned, or -1 if closed. It polls as
  // readable while Accept() has something to do, which need not be the last
  // thing for a client: use Accept(absl::ZeroDuration()) then. It is not the
  // socket's.
  int fileno() const;

 private:
  class State;

  explicit Listener(std::shared_ptr<State> state);
  static absl::StatusOr<Listener> Make(
      absl::string_view operation, const Options& options,
      absl::FunctionRef<absl::StatusOr<internal::ListeningSocket>()> listen);

  std::shared_ptr<State> state_;
};

}  // namespace mp

#endif  // MP_IPC_LISTENER_H_
