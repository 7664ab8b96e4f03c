#include "mp/ipc/internal/tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

// Returns the reason code of the first error in the queue, the one that the
// others follow from; 0 if it is not one of libssl's.
int SslReasonCode() {
  const unsigned long error = ERR_peek_error();
  return ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
}

// Returns the alert that the other end sent, or -1. (A reason for an alert is
// its number and an offset: man 3 SSL_alert_desc_string.)
int AlertOf(int reason) {
  const int alert = reason - SSL_AD_REASON_OFFSET;
  return alert >= 0 && alert <= 255 ? alert : -1;
}

// Returns what an alert in a handshake most likely is about.
absl::string_view MeaningOfAlert(int alert, bool by_key) {
  switch (alert) {
    case SSL_AD_PROTOCOL_VERSION:
      return "the other end does not do TLS 1.3";
    case SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
      return by_key ? "the other end has another key"
                    : "the other end refused the handshake";
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_MISSING_EXTENSION:
      return by_key ? "the other end has no key, or goes by certificates"
                    : "the other end goes by a key, not by certificates, or "
                      "has no algorithm in common with us";
    case SSL_AD_CERTIFICATE_REQUIRED:
      return "the other end wants a certificate of ours";
    case SSL_AD_CERTIFICATE_EXPIRED:
      return "the other end finds our certificate expired";
    case SSL_AD_UNKNOWN_CA:
      return "the other end does not know the authority that signed our "
             "certificate";
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
      return "the other end does not accept our certificate";
    default:
      return "the other end refused the handshake";
  }
}

// Returns what a failure that we noticed ourselves most likely is about.
absl::string_view MeaningOfReason(int reason) {
  switch (reason) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
      return "the other end has another key";
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CERTIFICATE_SET:
      return "the other end does not go by our key";
    case SSL_R_NO_SUITABLE_KEY_SHARE:
      return "the other end does not do X25519";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
      return "the other end does not do TLS 1.3";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "the other end showed no certificate";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_RECORD_LENGTH_MISMATCH:
    case SSL_R_BAD_LENGTH:
      return "the other end does not talk TLS";
    default:
      return "the handshake failed";
  }
}

std::string WithReason(absl::string_view meaning) {
  return absl::StrCat(meaning, " (", TlsReason(), ")");
}

}  // namespace

TlsErrorScope::TlsErrorScope() { ERR_clear_error(); }
TlsErrorScope::~TlsErrorScope() { ERR_clear_error(); }

std::string TlsReason() {
  const unsigned long error = ERR_peek_error();
  if (error == 0) return "OpenSSL gives no reason";
  if (ERR_SYSTEM_ERROR(error)) {
    return absl::StrCat("system error ", ERR_GET_REASON(error));
  }
  const char* const reason = ERR_reason_error_string(error);
  if (reason != nullptr) return reason;
  return absl::StrCat("OpenSSL error ", absl::Hex(error));
}

absl::Status TlsHandshakeError(const SSL* ssl, bool by_key) {
  const int reason = SslReasonCode();
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && by_key) {
    return absl::UnauthenticatedError(
        "the other end goes by certificates, not by our key");
  }
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the certificate of the other end does not do: ",
        X509_verify_cert_error_string(SSL_get_verify_result(ssl))));
  }
  const int alert = AlertOf(reason);
  return absl::UnauthenticatedError(WithReason(
      alert >= 0 ? MeaningOfAlert(alert, by_key) : MeaningOfReason(reason)));
}

absl::Status TlsReadError() {
  const int alert = AlertOf(SslReasonCode());
  if (alert >= 0) {
    return absl::DataLossError(
        absl::StrCat("the other end gave the connection up: ", TlsReason()));
  }
  return absl::DataLossError(absl::StrCat(
      "the stream has bytes that the other end did not send: ", TlsReason()));
}

}  // namespace mp::internal
