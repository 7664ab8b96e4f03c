#include "mp/ipc/internal/tls_context.h"

#include <openssl/ssl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/tls_error.h"
#include "mp/ipc/internal/tls_key.h"
#include "mp/ipc/tls_options.h"
#include "mp/process/auth_key.h"

namespace mp::internal {
namespace {

constexpr char kKeyCiphers[] = "TLS_AES_128_GCM_SHA256";
constexpr char kCertificateCiphers[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
    "TLS_CHACHA20_POLY1305_SHA256";

absl::Status Failed(absl::string_view call) {
  return absl::InternalError(absl::StrCat(call, ": ", TlsReason()));
}

// The key of the context that a connection belongs to, for as long as there is
// one, with a reference for the caller.
SSL_SESSION* KeyOf(SSL* ssl) {
  auto* const key =
      static_cast<SSL_SESSION*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  if (key != nullptr) SSL_SESSION_up_ref(key);
  return key;
}

// On the server, for the identity that a client names: it may be any.
int FindKey(SSL* ssl, const unsigned char* identity, size_t identity_size,
            SSL_SESSION** key) {
  const absl::string_view name(reinterpret_cast<const char*>(identity),
                               identity_size);
  *key = name == kTlsKeyIdentity ? KeyOf(ssl) : nullptr;
  return 1;
}

// On the client. A server that asks for another hash gets no key.
int OfferKey(SSL* ssl, const EVP_MD* digest, const unsigned char** identity,
             size_t* identity_size, SSL_SESSION** key) {
  *key =
      digest == nullptr || EVP_MD_is_a(digest, "SHA256") ? KeyOf(ssl) : nullptr;
  *identity = reinterpret_cast<const unsigned char*>(kTlsKeyIdentity.data());
  *identity_size = kTlsKeyIdentity.size();
  return 1;
}

// Instead of asking for a passphrase at the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Status CheckReadable(absl::string_view option, const std::string& path) {
  if (access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat(option, " \"", path, "\""));
}

absl::Status BadFile(absl::string_view option, const std::string& path,
                     absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat(
      option, " \"", path, "\": is not ", wanted, " (", TlsReason(), ")"));
}

// Whether the options go by a key.
//
// Errors: kInvalidArgument, as of TlsContext::Create().
absl::StatusOr<bool> GoesByKey(const TlsOptions& options) {
  const int files = !options.certificate_file.empty() +
                    !options.private_key_file.empty() +
                    !options.ca_file.empty();
  if (!options.authkey.has_value() && files == 0) {
    return absl::InvalidArgumentError(
        "there is nothing to tell friends by; set .authkey, or "
        ".certificate_file, .private_key_file and .ca_file");
  }
  if (options.authkey.has_value() && files > 0) {
    return absl::InvalidArgumentError(
        "both .authkey and certificates are set, take one of them");
  }
  if (options.authkey.has_value() && options.authkey->bytes().empty()) {
    return absl::InvalidArgumentError(
        "authkey has 0 bytes, at least 1 is "
        "needed");
  }
  if (!options.authkey.has_value() && files != 3) {
    return absl::InvalidArgumentError(
        "certificates need .certificate_file, .private_key_file and .ca_file, "
        "all three");
  }
  return options.authkey.has_value();
}

}  // namespace

void TlsContext::FreeContext::operator()(SSL_CTX* context) const {
  // Connections may outlive us, and hold the context, but not the key.
  if (context != nullptr) SSL_CTX_set_app_data(context, nullptr);
  SSL_CTX_free(context);
}

TlsContext::TlsContext(Role role, Context context)
    : role_(role), context_(std::move(context)) {}

absl::StatusOr<TlsContext> TlsContext::Create(const TlsOptions& options,
                                              Role role) {
  TlsErrorScope errors;
  MP_ASSIGN_OR_RETURN(const bool by_key, GoesByKey(options));
  // Its own clean-up at exit would come before that of the program's objects.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
  Context context(SSL_CTX_new(role == Role::kServer ? TLS_server_method()
                                                    : TLS_client_method()));
  if (context == nullptr) return Failed("SSL_CTX_new");
  SSL_CTX* const ssl = context.get();
  // What the system's openssl.cnf says does not count here.
  SSL_CTX_clear_options(ssl, SSL_CTX_get_options(ssl));
  SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(
      ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ssl, 0);
  SSL_CTX_set_security_level(ssl, 2);
  if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set1_groups_list(ssl, "X25519") != 1 ||
      SSL_CTX_set_num_tickets(ssl, 0) != 1 ||
      SSL_CTX_set_max_early_data(ssl, 0) != 1 ||
      SSL_CTX_set_ciphersuites(
          ssl, by_key ? kKeyCiphers : kCertificateCiphers) != 1) {
    return Failed("SSL_CTX_set");
  }
  TlsContext made(role, std::move(context));
  MP_RETURN_IF_ERROR(by_key ? made.UseKey(*options.authkey)
                            : made.UseCertificates(options));
  return made;
}

absl::Status TlsContext::UseKey(const AuthKey& authkey) {
  MP_ASSIGN_OR_RETURN(key_, CreateTlsKeySession(get(), authkey));
  SSL_CTX_set_app_data(get(), key_.get());
  if (role_ == Role::kServer) {
    SSL_CTX_set_psk_find_session_callback(get(), FindKey);
  } else {
    SSL_CTX_set_psk_use_session_callback(get(), OfferKey);
    // One who shows a certificate instead is signed for by nobody.
    SSL_CTX_set_verify(get(), SSL_VERIFY_PEER, nullptr);
  }
  return absl::OkStatus();
}

absl::Status TlsContext::UseCertificates(const TlsOptions& options) {
  const std::string& certificate = options.certificate_file;
  const std::string& private_key = options.private_key_file;
  const std::string& ca = options.ca_file;
  MP_RETURN_IF_ERROR(CheckReadable("certificate_file", certificate));
  MP_RETURN_IF_ERROR(CheckReadable("private_key_file", private_key));
  MP_RETURN_IF_ERROR(CheckReadable("ca_file", ca));
  SSL_CTX_set_default_passwd_cb(get(), NoPassphrase);
  if (SSL_CTX_use_certificate_chain_file(get(), certificate.c_str()) != 1) {
    return BadFile("certificate_file", certificate, "a certificate in PEM");
  }
  if (SSL_CTX_use_PrivateKey_file(get(), private_key.c_str(),
                                  SSL_FILETYPE_PEM) != 1) {
    return BadFile("private_key_file", private_key,
                   "the certificate's private key in PEM without a passphrase");
  }
  if (SSL_CTX_load_verify_file(get(), ca.c_str()) != 1) {
    return BadFile("ca_file", ca, "a list of certificates in PEM");
  }
  SSL_CTX_set_verify(get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     nullptr);
  return absl::OkStatus();
}

}  // namespace mp::internal
