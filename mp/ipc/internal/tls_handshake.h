#ifndef MP_IPC_INTERNAL_TLS_HANDSHAKE_H_
#define MP_IPC_INTERNAL_TLS_HANDSHAKE_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/ipc/internal/tls_context.h"
#include "mp/ipc/internal/tls_engine.h"

namespace mp::internal {

// A connection on its way to TLS.
//
// After TLS's own handshake the server sends a greeting. In TLS 1.3 a client is
// through before the server has looked at its certificate; it is not through
// here until the server has found it a friend.
//
// Example:
//   while (true) {
//     MP_ASSIGN_OR_RETURN(const short events, handshake.Step());
//     if (events == 0) break;
//     ...  // poll handshake.fd() for them
//   }
//   TlsTransport transport(std::move(handshake));
//
// Owns:    the socket.
// Threads: not safe.
class TlsHandshake {
 public:
  // `timeout` is that of the whole handshake, for which `context` has to last.
  static absl::StatusOr<TlsHandshake> Create(const TlsContext& context,
                                             Fd socket,
                                             const std::string& server_name,
                                             absl::Duration timeout);

  // Goes on with it. Returns what to poll for, POLLIN or POLLOUT, before the
  // next step; 0 when it is done.
  //
  // Errors:
  //   kUnauthenticated  the other end is no friend, does not talk TLS 1.3, or
  //                     was silent for too long. It is told why, if it can be.
  //   kUnavailable      it is gone.
  absl::StatusOr<short> Step();

  // The same to the end, until `deadline`: then, kDeadlineExceeded.
  absl::Status Run(const Deadline& deadline);

  int fd() const { return socket_.get(); }
  const Deadline& deadline() const { return deadline_; }

 private:
  friend class TlsTransport;
  enum class Phase { kTls, kGreeting, kDone };

  TlsHandshake(bool is_server, Fd socket, TlsEngine engine,
               absl::Duration timeout);
  absl::Status Advance();
  absl::Status SendGreeting();
  absl::Status ReadGreeting();

  bool is_server_;
  Fd socket_;
  TlsEngine engine_;
  absl::Duration timeout_;
  Deadline deadline_;
  Phase phase_ = Phase::kTls;
  std::string greeting_;  // what has come of it
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_HANDSHAKE_H_
