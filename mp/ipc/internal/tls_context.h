#ifndef MP_IPC_INTERNAL_TLS_CONTEXT_H_
#define MP_IPC_INTERNAL_TLS_CONTEXT_H_

#include <openssl/types.h>

#include <memory>

#include "absl/status/statusor.h"
#include "mp/ipc/internal/tls_key.h"
#include "mp/ipc/tls_options.h"

namespace mp::internal {

// What the connections of one listener or client have in common: how they tell
// friends, and that nothing but TLS 1.3 with X25519 will do. No session is
// resumed, and no byte is sent before the handshake is over.
//
// Owns:    the keys, which are wiped when it goes. Connections whose handshake
//          is over outlive it.
// Threads: safe, once made.
// Source:  RFC 8446. man 7 ssl.
class TlsContext {
 public:
  enum class Role { kServer, kClient };

  // Errors:
  //   kInvalidArgument   neither a key nor certificates, or both, or a part of
  //                      them; files that are not what they should be.
  //   kNotFound, kPermissionDenied  a file cannot be read.
  static absl::StatusOr<TlsContext> Create(const TlsOptions& options,
                                           Role role);

  Role role() const { return role_; }

  // Whether it goes by a key, and not by certificates.
  bool by_key() const { return key_ != nullptr; }

  SSL_CTX* get() const { return context_.get(); }

 private:
  struct FreeContext {
    void operator()(SSL_CTX* context) const;
  };
  using Context = std::unique_ptr<SSL_CTX, FreeContext>;

  TlsContext(Role role, Context context);
  absl::Status UseKey(const AuthKey& authkey);
  absl::Status UseCertificates(const TlsOptions& options);

  Role role_;
  TlsSession key_;  // goes after the context
  Context context_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_CONTEXT_H_
