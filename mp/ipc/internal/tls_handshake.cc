#include "mp/ipc/internal/tls_handshake.h"

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/tls_context.h"
#include "mp/ipc/internal/tls_engine.h"

namespace mp::internal {
namespace {

// What follows are frames; another number would be for other ones.
constexpr absl::string_view kGreeting = "mp/1\n";

}  // namespace

TlsHandshake::TlsHandshake(bool is_server, Fd socket, TlsEngine engine,
                           absl::Duration timeout)
    : is_server_(is_server),
      socket_(std::move(socket)),
      engine_(std::move(engine)),
      timeout_(timeout),
      deadline_(timeout) {}

absl::StatusOr<TlsHandshake> TlsHandshake::Create(
    const TlsContext& context, Fd socket, const std::string& server_name,
    absl::Duration timeout) {
  MP_ASSIGN_OR_RETURN(TlsEngine engine,
                      TlsEngine::Create(context, socket.get(), server_name));
  return TlsHandshake(context.role() == TlsContext::Role::kServer,
                      std::move(socket), std::move(engine), timeout);
}

absl::StatusOr<short> TlsHandshake::Step() {
  const absl::Status advanced = Advance();
  const absl::StatusOr<bool> sent = engine_.Flush();
  MP_RETURN_IF_ERROR(advanced);
  MP_RETURN_IF_ERROR(sent.status());
  if (*sent && phase_ == Phase::kDone) return 0;
  if (deadline_.Expired()) {
    return absl::UnauthenticatedError(
        absl::StrCat("the other end did not finish the handshake in ",
                     absl::FormatDuration(timeout_)));
  }
  return *sent ? POLLIN : POLLOUT;
}

absl::Status TlsHandshake::Advance() {
  if (phase_ == Phase::kTls) {
    MP_ASSIGN_OR_RETURN(const bool over, engine_.Handshake());
    if (!over) return absl::OkStatus();
    phase_ = Phase::kGreeting;
  }
  if (phase_ == Phase::kDone) return absl::OkStatus();
  return is_server_ ? SendGreeting() : ReadGreeting();
}

absl::Status TlsHandshake::SendGreeting() {
  phase_ = Phase::kDone;
  engine_.SetTrusted();
  return engine_.Encrypt(kGreeting);
}

absl::Status TlsHandshake::ReadGreeting() {
  while (greeting_.size() < kGreeting.size()) {
    char bytes[kGreeting.size()];
    MP_ASSIGN_OR_RETURN(
        const std::optional<size_t> got,
        engine_.Read({bytes, kGreeting.size() - greeting_.size()}));
    if (!got.has_value()) return absl::OkStatus();
    greeting_.append(bytes, *got);
    if (*got == 0 || !absl::StartsWith(kGreeting, greeting_)) {
      return absl::UnauthenticatedError(
          "the other end talks TLS, but is no TlsListener of this version");
    }
  }
  phase_ = Phase::kDone;
  engine_.SetTrusted();
  return absl::OkStatus();
}

absl::Status TlsHandshake::Run(const Deadline& deadline) {
  while (true) {
    MP_ASSIGN_OR_RETURN(const short events, Step());
    if (events == 0) return absl::OkStatus();
    const Deadline first(std::min(deadline.Remaining(), deadline_.Remaining()));
    MP_ASSIGN_OR_RETURN(const bool ready,
                        WaitForFd(socket_.get(), events, first));
    if (!ready && deadline.Expired()) {
      return absl::DeadlineExceededError("the handshake was not over in time");
    }
  }
}

}  // namespace mp::internal
