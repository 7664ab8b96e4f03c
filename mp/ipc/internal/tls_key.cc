#include "mp/ipc/internal/tls_key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <array>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/tls_error.h"
#include "mp/process/auth_key.h"

namespace mp::internal {
namespace {

constexpr size_t kKeyBytes = 32;

// What the key is for. Another label is another key.
constexpr absl::string_view kLabel = "mp TLS 1.3 external PSK, version 1";

// The cipher that the key is bound to, by its hash (RFC 8446, section 4.2.11):
// TLS_AES_128_GCM_SHA256.
constexpr unsigned char kCipher[] = {0x13, 0x01};

struct FreeKdf {
  void operator()(EVP_KDF* kdf) const { EVP_KDF_free(kdf); }
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

absl::Status Failed(absl::string_view call) {
  return absl::InternalError(absl::StrCat(call, ": ", TlsReason()));
}

// A parameter that is only read, which OpenSSL takes as if it were not.
OSSL_PARAM Octets(const char* name, absl::string_view bytes) {
  return OSSL_PARAM_construct_octet_string(
      name, const_cast<char*>(bytes.data()), bytes.size());
}

}  // namespace

void FreeTlsSession::operator()(SSL_SESSION* session) const {
  SSL_SESSION_free(session);
}

absl::StatusOr<AuthKey> DeriveTlsKey(const AuthKey& authkey) {
  TlsErrorScope errors;
  const std::unique_ptr<EVP_KDF, FreeKdf> kdf(
      EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  if (kdf == nullptr) return Failed("EVP_KDF_fetch(HKDF)");
  const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(
      EVP_KDF_CTX_new(kdf.get()));
  if (context == nullptr) return Failed("EVP_KDF_CTX_new");
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      Octets(OSSL_KDF_PARAM_KEY, authkey.bytes()),
      Octets(OSSL_KDF_PARAM_INFO, kLabel),
      OSSL_PARAM_construct_end(),
  };
  std::array<char, kKeyBytes> derived;
  if (EVP_KDF_derive(context.get(),
                     reinterpret_cast<unsigned char*>(derived.data()),
                     derived.size(), parameters) != 1) {
    return Failed("EVP_KDF_derive(HKDF)");
  }
  AuthKey key = AuthKey::FromBytes({derived.data(), derived.size()});
  OPENSSL_cleanse(derived.data(), derived.size());
  return key;
}

absl::StatusOr<TlsSession> CreateTlsKeySession(SSL_CTX* context,
                                               const AuthKey& authkey) {
  TlsErrorScope errors;
  MP_ASSIGN_OR_RETURN(const AuthKey key, DeriveTlsKey(authkey));
  // Only for the table of ciphers.
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context),
                                                      SSL_free);
  if (ssl == nullptr) return Failed("SSL_new");
  TlsSession session(SSL_SESSION_new());
  const auto* const bytes =
      reinterpret_cast<const unsigned char*>(key.bytes().data());
  if (session == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), bytes, key.bytes().size()) !=
          1 ||
      SSL_SESSION_set_cipher(session.get(),
                             SSL_CIPHER_find(ssl.get(), kCipher)) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return Failed("SSL_SESSION_new");
  }
  return session;
}

}  // namespace mp::internal
