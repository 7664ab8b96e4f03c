#include "mp/ipc/internal/tls_engine.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/errno_status.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/tls_context.h"
#include "mp/ipc/internal/tls_error.h"

namespace mp::internal {
namespace {

absl::Status Failed(absl::string_view call) {
  return absl::InternalError(absl::StrCat(call, ": ", TlsReason()));
}

// The machine at the other end may be gone, or the way to it.
absl::Status SocketError(int error, absl::string_view call) {
  switch (error) {
    case EPIPE:
    case ECONNRESET:
      return absl::UnavailableError("the other end is closed");
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
      return absl::UnavailableError(
          absl::StrCat("the other end does not answer any more: ",
                       ErrnoStatus(error, call).message()));
    default:
      return ErrnoStatus(error, call);
  }
}

// Follows the stream of records, to tell whether it is inside one.
class RecordBorders {
 public:
  void Pass(absl::string_view bytes) {
    while (!bytes.empty()) {
      if (header_filled_ < kHeaderBytes) {
        header_[header_filled_++] = static_cast<unsigned char>(bytes.front());
        bytes.remove_prefix(1);
        if (header_filled_ == kHeaderBytes) {
          body_left_ = size_t{header_[3]} << 8 | header_[4];
        }
      } else {
        const size_t passed = std::min(body_left_, bytes.size());
        body_left_ -= passed;
        bytes.remove_prefix(passed);
      }
      if (header_filled_ == kHeaderBytes && body_left_ == 0) header_filled_ = 0;
    }
  }

  bool InsideRecord() const { return header_filled_ > 0; }

 private:
  // A type, a version, and the length of what follows (RFC 8446, section 5.1).
  static constexpr size_t kHeaderBytes = 5;

  unsigned char header_[kHeaderBytes];
  size_t header_filled_ = 0;
  size_t body_left_ = 0;
};

}  // namespace

struct TlsEngine::Wire {
  explicit Wire(int socket) : socket(socket) {}

  const int socket;
  std::string output;  // encrypted
  size_t sent = 0;     // of the output
  RecordBorders input;
  bool input_ended = false;
  int input_error = 0;

  // What OpenSSL calls: man 3 BIO_meth_new.
  static const BIO_METHOD* Method();
  static int OnCreate(BIO* bio);
  static int OnRead(BIO* bio, char* into, int size);
  static int OnWrite(BIO* bio, const char* bytes, int size);
  static long OnControl(BIO* bio, int command, long number, void* pointer);
};

const BIO_METHOD* TlsEngine::Wire::Method() {
  static const BIO_METHOD* const method = []() -> BIO_METHOD* {
    BIO_METHOD* const made =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mp socket");
    if (made == nullptr) return nullptr;
    BIO_meth_set_create(made, OnCreate);
    BIO_meth_set_read(made, OnRead);
    BIO_meth_set_write(made, OnWrite);
    BIO_meth_set_ctrl(made, OnControl);
    return made;
  }();
  return method;
}

int TlsEngine::Wire::OnCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

int TlsEngine::Wire::OnRead(BIO* bio, char* into, int size) {
  Wire& wire = *static_cast<Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const ssize_t got =
      RetryOnEintr([&] { return recv(wire.socket, into, size, MSG_DONTWAIT); });
  if (got > 0) {
    wire.input.Pass({into, static_cast<size_t>(got)});
  } else if (got == 0) {
    wire.input_ended = true;
  } else if (errno == EAGAIN) {
    BIO_set_retry_read(bio);
  } else {
    wire.input_error = errno;
  }
  return static_cast<int>(got);
}

int TlsEngine::Wire::OnWrite(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  static_cast<Wire*>(BIO_get_data(bio))->output.append(bytes, size);
  return size;
}

long TlsEngine::Wire::OnControl(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return static_cast<Wire*>(BIO_get_data(bio))->input_ended ? 1 : 0;
    default:
      return 0;
  }
}

void TlsEngine::FreeSsl::operator()(SSL* ssl) const { SSL_free(ssl); }

TlsEngine::TlsEngine(bool by_key, std::unique_ptr<Wire> wire, Ssl ssl)
    : by_key_(by_key), wire_(std::move(wire)), ssl_(std::move(ssl)) {}
TlsEngine::TlsEngine(TlsEngine&&) noexcept = default;
TlsEngine& TlsEngine::operator=(TlsEngine&&) noexcept = default;
TlsEngine::~TlsEngine() = default;

namespace {

// Has the certificate of the server checked for a name, or an IP address.
absl::Status ExpectServerName(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* const checks = SSL_get0_param(ssl);
  unsigned char number[sizeof(in6_addr)];
  if (inet_pton(AF_INET, name.c_str(), number) == 1 ||
      inet_pton(AF_INET6, name.c_str(), number) == 1) {
    if (X509_VERIFY_PARAM_set1_ip_asc(checks, name.c_str()) == 1) {
      return absl::OkStatus();
    }
    return Failed("X509_VERIFY_PARAM_set1_ip_asc");
  }
  X509_VERIFY_PARAM_set_hostflags(checks, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (name.empty() || name.find('\0') != std::string::npos ||
      X509_VERIFY_PARAM_set1_host(checks, name.data(), name.size()) != 1 ||
      SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("server_name \"", name, "\" is no name of a host"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsEngine> TlsEngine::Create(const TlsContext& context,
                                            int socket,
                                            const std::string& server_name) {
  TlsErrorScope errors;
  Ssl ssl(SSL_new(context.get()));
  if (ssl == nullptr) return Failed("SSL_new");
  BIO* const bio = BIO_new(Wire::Method());
  if (bio == nullptr) return Failed("BIO_new");
  auto wire = std::make_unique<Wire>(socket);
  BIO_set_data(bio, wire.get());
  SSL_set_bio(ssl.get(), bio, bio);  // takes it over
  if (context.role() == TlsContext::Role::kServer) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
    if (!context.by_key()) {
      MP_RETURN_IF_ERROR(ExpectServerName(ssl.get(), server_name));
    }
  }
  return TlsEngine(context.by_key(), std::move(wire), std::move(ssl));
}

bool TlsEngine::HasFailed(int result) const {
  const int error = SSL_get_error(ssl_.get(), result);
  return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

absl::StatusOr<bool> TlsEngine::Handshake() {
  TlsErrorScope errors;
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    MP_RETURN_IF_ERROR(CheckFriend());
    return true;
  }
  if (!HasFailed(result)) return false;
  if (wire_->input_ended) {
    return absl::UnavailableError("the other end hung up in the handshake");
  }
  if (wire_->input_error != 0) return SocketError(wire_->input_error, "recv");
  return TlsHandshakeError(ssl_.get(), by_key_);
}

// What the handshake has seen to, looked at once more.
absl::Status TlsEngine::CheckFriend() const {
  const bool is_friend =
      by_key_ ? SSL_session_reused(ssl_.get()) == 1
              : SSL_get0_peer_certificate(ssl_.get()) != nullptr &&
                    SSL_get_verify_result(ssl_.get()) == X509_V_OK;
  if (is_friend && SSL_version(ssl_.get()) == TLS1_3_VERSION) {
    return absl::OkStatus();
  }
  return absl::UnauthenticatedError(
      "the other end has not proved who it is, in a handshake without errors");
}

absl::Status TlsEngine::Encrypt(absl::string_view bytes) {
  if (bytes.empty()) return absl::OkStatus();
  TlsErrorScope errors;
  if (records_ >= records_per_key_) {
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
      return Failed("SSL_key_update");
    }
    records_ = 0;
  }
  records_ += (bytes.size() + kRecordBytes - 1) / kRecordBytes;
  size_t written = 0;
  if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written) == 1) {
    return absl::OkStatus();
  }
  // The wire takes all: only memory can run out, or a read have failed before.
  return absl::UnavailableError(
      absl::StrCat("the connection has failed: ", TlsReason()));
}

absl::StatusOr<bool> TlsEngine::Flush() {
  Wire& wire = *wire_;
  while (wire.sent < wire.output.size()) {
    const absl::string_view rest =
        absl::string_view(wire.output).substr(wire.sent);
    const ssize_t sent = RetryOnEintr([&] {
      return send(wire.socket, rest.data(), rest.size(),
                  MSG_NOSIGNAL | MSG_DONTWAIT);
    });
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent < 0) return SocketError(errno, "send");
    wire.sent += sent;
  }
  wire.output.clear();
  wire.sent = 0;
  return true;
}

absl::StatusOr<std::optional<size_t>> TlsEngine::Read(absl::Span<char> into) {
  if (read_end_.has_value()) {
    MP_RETURN_IF_ERROR(read_end_->status());
    return **read_end_;
  }
  TlsErrorScope errors;
  size_t got = 0;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
  if (result == 1) return got;
  if (!HasFailed(result)) return std::nullopt;
  read_end_ = ReadEnd(result);
  MP_RETURN_IF_ERROR(read_end_->status());
  return **read_end_;
}

absl::StatusOr<size_t> TlsEngine::ReadEnd(int result) const {
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) {
    return size_t{0};
  }
  const bool cut = wire_->input_ended || wire_->input_error != 0;
  if (!cut && !trusted_) return TlsHandshakeError(ssl_.get(), by_key_);
  if (!cut) return TlsReadError();
  if (wire_->input.InsideRecord()) {
    return absl::DataLossError("the stream ended in a message");
  }
  if (wire_->input_error != 0 && wire_->input_error != ECONNRESET) {
    return SocketError(wire_->input_error, "recv");
  }
  return absl::UnavailableError(
      "the stream ended without a goodbye: the other end was killed, or "
      "somebody in between cut it off; messages may be missing");
}

bool TlsEngine::HasBuffered() const {
  return read_end_.has_value() || SSL_pending(ssl_.get()) > 0;
}

void TlsEngine::SayGoodbye() {
  const bool failed = read_end_.has_value() && !read_end_->ok();
  if (failed || !SSL_is_init_finished(ssl_.get())) return;
  TlsErrorScope errors;
  SSL_shutdown(ssl_.get());
}

}  // namespace mp::internal
