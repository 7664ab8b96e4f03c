#ifndef MP_IPC_TLS_H_
#define MP_IPC_TLS_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/tls_options.h"

namespace mp {

// Waits at a TCP port for clients to connect by TLS: what they and we send is
// seen and changed by nobody in between, and both ends have proved who they are
// before the first message.
//
// Example:
//   // Here, and there the same key:
//   MP_ASSIGN_OR_RETURN(Address address, Address::Parse("0.0.0.0:6000"));
//   MP_ASSIGN_OR_RETURN(TlsListener listener,
//                       TlsListener::Create(address, {.authkey = key}));
//   while (true) {
//     absl::StatusOr<Connection> client = listener.Accept();
//     if (absl::IsUnauthenticated(client.status())) continue;
//     ...
//   }
//
//   MP_ASSIGN_OR_RETURN(Connection connection,
//                       TlsClient(*Address::Parse("head:6000"),
//                                 {.authkey = key}));
//
// It is TLS 1.3 and nothing else, with fresh X25519 keys for each connection, so
// that who gets hold of the authkey or of a private key cannot read what was
// recorded before. There is no resumption and no early data.
//
// The connections are ordinary ones, but for this: no descriptors go through
// them; they cannot be sent to another process, and a forked child that tries to
// use one gets kFailedPrecondition. An end that comes without a goodbye, as when
// the other process is killed, is kUnavailable from Recv(), and kDataLoss within
// a message, as it cannot be told from a wire that somebody has cut; kOutOfRange
// says that all has arrived. Close() waits for up to a second where the other
// end is so far behind that there is no room for the goodbye.
//
// Clients that are slow in the handshake, or silent, do not hold up others:
// Accept() deals with all of them at once, and returns the first that is
// through.
//
// Owns:    the socket and the keys.
// Threads: safe from several: each client goes to one Accept(). Close() ends
//          those that wait. Moves are for one thread alone.
// Fork:    belongs to the process that made it; a child of the start method fork
//          finds it closed.
// Death:   a client that dies in the handshake costs nobody anything. A machine
//          that does not answer any more is taken for dead after 10 s.
// Source:  RFC 8446 (TLS 1.3); RFC 9257 (external keys). CPython has no such
//          thing: its authkey authenticates, but nothing is encrypted.
class TlsListener {
 public:
  // Listens at a TCP address; port 0 is any that is free.
  //
  // Errors:
  //   kInvalidArgument    the options have neither a key nor certificates, or
  //                       both, or a file that does not do; an option is out of
  //                       its range; other machines can reach the address, and
  //                       the key has less than kMinRemoteKeyBytes; the address
  //                       is none of TCP, or none of this machine's.
  //   kNotFound, kPermissionDenied  a file of the options cannot be read; there
  //                       is no such host; a low port.
  //   kAlreadyExists      somebody listens there.
  //   kResourceExhausted  no descriptor left.
  static absl::StatusOr<TlsListener> Create(const Address& address,
                                            const TlsOptions& options);

  TlsListener(TlsListener&&) noexcept = default;
  TlsListener& operator=(TlsListener&& other) noexcept;
  ~TlsListener();

  // Waits for a client and its handshake.
  //
  // Errors:
  //   kDeadlineExceeded    none came in time, or none is through. Those in the
  //                        handshake go on with it in the next call.
  //   kUnauthenticated     one came that has another key, no certificate that
  //                        does, an older TLS or none, or did not finish in
  //                        time. It is gone; call Accept() again.
  //   kResourceExhausted   no descriptor left. The client still waits; this
  //                        took 50 ms, so that a loop around it does not spin.
  //   kFailedPrecondition  the listener is closed.
  absl::StatusOr<Connection> Accept(
      absl::Duration timeout = absl::InfiniteDuration());

  // Returns where it listens, in numbers. Also after Close().
  const Address& address() const;

  // Returns where the client of the last Accept() connected from.
  std::optional<Address> last_accepted() const;

  // Stops to listen. Clients that wait are refused. May be called again.
  void Close();

  bool closed() const;

 private:
  class State;

  explicit TlsListener(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

// Connects to a TlsListener. Returns once its Accept() has found this end to be
// a friend.
//
// Errors:
//   kUnauthenticated    it has another key, or a certificate that does not do;
//                       ours does not do for it; it talks no TLS 1.3, or is no
//                       TlsListener; it did not finish the handshake in the time
//                       that the options give it. The message says which.
//   kUnavailable        nobody listens there, or went away in the handshake.
//   kDeadlineExceeded   all this took longer than `timeout`.
//   kNotFound           there is no such host, or no such file.
//   kInvalidArgument    as of TlsListener::Create().
//   kResourceExhausted  no descriptor left.
// Source: as of TlsListener.
absl::StatusOr<Connection> TlsClient(
    const Address& address, const TlsOptions& options,
    absl::Duration timeout = absl::InfiniteDuration());

}  // namespace mp

#endif  // MP_IPC_TLS_H_
