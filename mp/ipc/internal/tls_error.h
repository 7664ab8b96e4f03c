#ifndef MP_IPC_INTERNAL_TLS_ERROR_H_
#define MP_IPC_INTERNAL_TLS_ERROR_H_

#include <openssl/types.h>

#include <string>

#include "absl/status/status.h"

namespace mp::internal {

// Clears the error queue of this thread, before and after calls of OpenSSL: what
// somebody else left there would be taken for ours, and ours for theirs.
//
// Source: man 3 SSL_get_error: "the current thread's error queue must be empty
//         before the TLS/SSL I/O operation is attempted".
class TlsErrorScope {
 public:
  TlsErrorScope();
  ~TlsErrorScope();
  TlsErrorScope(const TlsErrorScope&) = delete;
  TlsErrorScope& operator=(const TlsErrorScope&) = delete;
};

// Returns the reason that OpenSSL gives for its last failure in this thread, as
// text, such as "certificate verify failed".
std::string TlsReason();

// Returns why a handshake has failed, which OpenSSL has just said: that the
// other end could not prove who it is, or did not believe us. kUnauthenticated.
absl::Status TlsHandshakeError(const SSL* ssl, bool by_key);

// Returns why bytes that came later could not be read: kDataLoss.
absl::Status TlsReadError();

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_ERROR_H_
