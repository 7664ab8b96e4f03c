#ifndef MP_IPC_INTERNAL_TLS_KEY_H_
#define MP_IPC_INTERNAL_TLS_KEY_H_

#include <openssl/ssl.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/process/auth_key.h"

namespace mp::internal {

struct FreeTlsSession {
  void operator()(SSL_SESSION* session) const;
};
using TlsSession = std::unique_ptr<SSL_SESSION, FreeTlsSession>;

// What TLS calls the key: both ends have but one.
inline constexpr absl::string_view kTlsKeyIdentity = "mp";

// Returns the key of TLS that follows from ours: 32 bytes by HKDF with SHA-256,
// no salt, and a label of our own, so that the same authkey can serve elsewhere.
//
// Source: RFC 5869 (HKDF); RFC 9257, section 4.2: a key of TLS is to be used
//         for nothing else.
absl::StatusOr<AuthKey> DeriveTlsKey(const AuthKey& authkey);

// Returns that key as OpenSSL takes it, for TLS_AES_128_GCM_SHA256: a session
// to be resumed, wiped when the last one lets go of it. `context` is any.
//
// Source: man 3 SSL_CTX_set_psk_use_session_callback.
absl::StatusOr<TlsSession> CreateTlsKeySession(SSL_CTX* context,
                                               const AuthKey& authkey);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_KEY_H_
