#include "mp/ipc/tls.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/accepting.h"
#include "mp/ipc/internal/listening_socket.h"
#include "mp/ipc/internal/socket_address.h"
#include "mp/ipc/internal/stream_socket.h"
#include "mp/ipc/internal/tls_context.h"
#include "mp/ipc/internal/tls_handshake.h"
#include "mp/ipc/internal/tls_owner.h"
#include "mp/ipc/internal/tls_transport.h"
#include "mp/ipc/internal/turn.h"
#include "mp/process/after_fork.h"

namespace mp {
namespace {

using ::mp::internal::CheckHandshakeOptions;
using ::mp::internal::kExhaustionPause;
using ::mp::internal::ListenerIsClosed;
using ::mp::internal::ListeningSocket;
using ::mp::internal::NoAddress;
using ::mp::internal::NoClientCame;
using ::mp::internal::SocketAddress;
using ::mp::internal::TlsContext;
using ::mp::internal::TlsHandshake;
using ::mp::internal::TlsTransport;
using ::mp::internal::WithOperation;

// A client that has connected, and the handshake with it.
struct Guest {
  TlsHandshake handshake;
  Address peer;
  short events = POLLIN;  // what it waits for
};

absl::Status CheckOptions(const Address& address, const TlsOptions& options) {
  if (address.family() != Address::Family::kTcp) {
    return absl::InvalidArgumentError(
        "TLS is for TCP addresses; others never leave the machine");
  }
  return CheckHandshakeOptions(options.handshake_timeout,
                               options.max_handshakes);
}

// A key that can be guessed does for this machine only: who has seen a handshake
// can try one after another, without asking anybody.
absl::Status CheckKeyLength(const TlsOptions& options,
                            const SocketAddress& address) {
  if (!options.authkey.has_value() || address.IsLocal()) {
    return absl::OkStatus();
  }
  const size_t size = options.authkey->bytes().size();
  if (size >= TlsOptions::kMinRemoteKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "authkey has ", size, " bytes, between machines at least ",
      TlsOptions::kMinRemoteKeyBytes, " are needed; see AuthKey::Random()"));
}

Connection MakeConnection(TlsHandshake handshake) {
  return Connection::FromTransport(
      std::make_unique<TlsTransport>(std::move(handshake)));
}

}  // namespace

class TlsListener::State {
 public:
  State(TlsContext context, ListeningSocket socket, Fd closing,
        const TlsOptions& options)
      : context_(std::move(context)),
        address_(socket.address()),
        handshake_timeout_(options.handshake_timeout),
        max_handshakes_(options.max_handshakes),
        closing_(std::move(closing)),
        socket_(std::move(socket)) {}

  absl::StatusOr<Connection> Accept(const Deadline& deadline);
  void Close();

  bool closed() const { return closed_; }
  const Address& address() const { return address_; }
  std::optional<Address> last_accepted() const {
    const ForkSafeLock lock(mutex_);
    return last_accepted_;
  }

 private:
  using Accepted = ListeningSocket::Accepted;

  absl::StatusOr<Connection> AcceptInTurn(const Deadline& deadline);
  absl::Status LetClientsIn(const Deadline& deadline);
  absl::StatusOr<std::optional<Accepted>> NextClient(const Deadline& deadline);
  absl::StatusOr<std::optional<Connection>> GoOnWithGuests();
  absl::Status Wait(const Deadline& deadline) const;

  bool has_room() const { return guests_.size() < max_handshakes_; }

  const TlsContext context_;
  const Address address_;
  const absl::Duration handshake_timeout_;
  const size_t max_handshakes_;
  const internal::TlsOwner owner_;
  std::atomic<bool> closed_{false};
  const Fd closing_;  // readable from Close() on

  // For the thread whose turn it is.
  internal::Turn turn_;
  std::optional<ListeningSocket> socket_;
  std::list<Guest> guests_;

  mutable ForkSafeMutex mutex_;
  std::optional<Address> last_accepted_ ABSL_GUARDED_BY(mutex_);

  // In a forked child. The guests are closed unless another thread of the parent
  // was busy with them.
  AfterFork after_fork_{[this] {
    closed_ = true;
    mutex_.Reset();
    socket_.reset();
    const internal::Turn::Holder turn(turn_, Deadline(absl::ZeroDuration()));
    if (turn.status().ok()) guests_.clear();
  }};
};

absl::StatusOr<Connection> TlsListener::State::Accept(
    const Deadline& deadline) {
  // Before the turn, which in a forked child may never come.
  if (closed_) return ListenerIsClosed();
  if (!owner_.IsThisProcess()) {
    return absl::FailedPreconditionError(
        "the listener is another process's, from which this one was forked");
  }
  const internal::Turn::Holder turn(turn_, deadline);
  if (!turn.status().ok()) return NoClientCame();
  return AcceptInTurn(deadline);
}

absl::StatusOr<Connection> TlsListener::State::AcceptInTurn(
    const Deadline& deadline) {
  bool expired = false;
  while (true) {
    if (closed_) return ListenerIsClosed();
    MP_RETURN_IF_ERROR(LetClientsIn(deadline));
    MP_ASSIGN_OR_RETURN(std::optional<Connection> connection, GoOnWithGuests());
    if (connection.has_value()) return *std::move(connection);
    if (expired) return NoClientCame();
    MP_RETURN_IF_ERROR(Wait(deadline));
    expired = deadline.Expired();
  }
}

// Begins the handshake with those who wait at the socket.
absl::Status TlsListener::State::LetClientsIn(const Deadline& deadline) {
  while (has_room()) {
    MP_ASSIGN_OR_RETURN(std::optional<Accepted> client, NextClient(deadline));
    if (!client.has_value()) break;
    MP_ASSIGN_OR_RETURN(
        TlsHandshake handshake,
        TlsHandshake::Create(context_, std::move(client->socket),
                             /*server_name=*/"", handshake_timeout_));
    guests_.push_back({std::move(handshake), std::move(client->peer)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ListeningSocket::Accepted>>
TlsListener::State::NextClient(const Deadline& deadline) {
  absl::StatusOr<std::optional<Accepted>> client = socket_->TryAccept();
  if (!absl::IsResourceExhausted(client.status())) return client;
  MP_RETURN_IF_ERROR(
      WaitForFd(closing_.get(), POLLIN,
                Deadline(std::min(kExhaustionPause, deadline.Remaining())))
          .status());
  return socket_->TryAccept();
}

// Returns the first that is through, if one is.
absl::StatusOr<std::optional<Connection>> TlsListener::State::GoOnWithGuests() {
  for (auto guest = guests_.begin(); guest != guests_.end(); ++guest) {
    const absl::StatusOr<short> events = guest->handshake.Step();
    if (events.ok() && *events != 0) {
      guest->events = *events;
      continue;
    }
    Guest done = std::move(*guest);
    guests_.erase(guest);
    if (!events.ok()) {
      return absl::UnauthenticatedError(absl::StrCat(
          "client ", done.peer.ToString(), ": ", events.status().message()));
    }
    const ForkSafeLock lock(mutex_);
    last_accepted_ = done.peer;
    return MakeConnection(std::move(done.handshake));
  }
  return std::nullopt;
}

// Waits until there is something to do, a guest is late, or the deadline.
absl::Status TlsListener::State::Wait(const Deadline& deadline) const {
  absl::Duration left = deadline.Remaining();
  std::vector<pollfd> entries = {{closing_.get(), POLLIN, 0}};
  if (has_room()) entries.push_back({socket_->fd(), POLLIN, 0});
  for (const Guest& guest : guests_) {
    entries.push_back({guest.handshake.fd(), guest.events, 0});
    left = std::min(left, guest.handshake.deadline().Remaining());
  }
  return PollUntil(absl::MakeSpan(entries), Deadline(left)).status();
}

void TlsListener::State::Close() {
  if (closed_.exchange(true)) return;
  eventfd_write(closing_.get(), 1);
  const internal::Turn::Holder turn(turn_, Deadline(absl::InfiniteDuration()));
  guests_.clear();
  socket_.reset();
}

namespace {

// Returns a socket that listens, unless the key is too short for where it does.
absl::StatusOr<ListeningSocket> Listen(const Address& address,
                                       const TlsOptions& options) {
  MP_ASSIGN_OR_RETURN(
      ListeningSocket socket,
      ListeningSocket::Create(
          address, {.backlog = options.backlog, .allow_remote = true}));
  MP_ASSIGN_OR_RETURN(const std::vector<SocketAddress> bound,
                      internal::Resolve(socket.address()));
  MP_RETURN_IF_ERROR(CheckKeyLength(options, bound.front()));
  return socket;
}

absl::StatusOr<Fd> CreateEventFd() {
  Fd event = Fd::AboveStdio(Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  if (!event.is_open()) return ErrnoStatus(errno, "eventfd");
  return event;
}

}  // namespace

absl::StatusOr<TlsListener> TlsListener::Create(const Address& address,
                                                const TlsOptions& options) {
  const auto create = [&]() -> absl::StatusOr<TlsListener> {
    MP_RETURN_IF_ERROR(CheckOptions(address, options));
    MP_ASSIGN_OR_RETURN(TlsContext context,
                        TlsContext::Create(options, TlsContext::Role::kServer));
    MP_ASSIGN_OR_RETURN(Fd closing, CreateEventFd());
    MP_ASSIGN_OR_RETURN(ListeningSocket socket, Listen(address, options));
    return TlsListener(std::make_shared<State>(
        std::move(context), std::move(socket), std::move(closing), options));
  };
  absl::StatusOr<TlsListener> listener = create();
  if (listener.ok()) return listener;
  return WithOperation(
      absl::StrCat("TlsListener::Create(", address.ToString(), ")"),
      listener.status());
}

TlsListener::TlsListener(std::shared_ptr<State> state)
    : state_(std::move(state)) {}

TlsListener& TlsListener::operator=(TlsListener&& other) noexcept {
  Close();
  state_ = std::move(other.state_);
  return *this;
}

TlsListener::~TlsListener() { Close(); }

absl::StatusOr<Connection> TlsListener::Accept(absl::Duration timeout) {
  constexpr absl::string_view kOperation = "TlsListener::Accept";
  if (state_ == nullptr) return WithOperation(kOperation, ListenerIsClosed());
  absl::StatusOr<Connection> connection = state_->Accept(Deadline(timeout));
  if (connection.ok()) return connection;
  return WithOperation(kOperation, connection.status());
}

const Address& TlsListener::address() const {
  return state_ == nullptr ? NoAddress() : state_->address();
}

std::optional<Address> TlsListener::last_accepted() const {
  if (state_ == nullptr) return std::nullopt;
  return state_->last_accepted();
}

void TlsListener::Close() {
  if (state_ != nullptr) state_->Close();
}

bool TlsListener::closed() const {
  return state_ == nullptr || state_->closed();
}

namespace {

absl::StatusOr<SocketAddress> PeerOf(int socket) {
  SocketAddress peer;
  peer.size = sizeof(peer.storage);
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&peer.storage),
                  &peer.size) != 0) {
    return ErrnoStatus(errno, "getpeername");
  }
  return peer;
}

absl::StatusOr<Connection> ConnectTls(const Address& address,
                                      const TlsOptions& options,
                                      const Deadline& deadline) {
  MP_RETURN_IF_ERROR(CheckOptions(address, options));
  MP_ASSIGN_OR_RETURN(const TlsContext context,
                      TlsContext::Create(options, TlsContext::Role::kClient));
  MP_ASSIGN_OR_RETURN(Fd socket, internal::ConnectSocket(address, deadline));
  MP_ASSIGN_OR_RETURN(const SocketAddress peer, PeerOf(socket.get()));
  MP_RETURN_IF_ERROR(CheckKeyLength(options, peer));
  const std::string& server_name =
      options.server_name.empty() ? address.name() : options.server_name;
  MP_ASSIGN_OR_RETURN(
      TlsHandshake handshake,
      TlsHandshake::Create(context, std::move(socket), server_name,
                           options.handshake_timeout));
  MP_RETURN_IF_ERROR(handshake.Run(deadline));
  return MakeConnection(std::move(handshake));
}

}  // namespace

absl::StatusOr<Connection> TlsClient(const Address& address,
                                     const TlsOptions& options,
                                     absl::Duration timeout) {
  absl::StatusOr<Connection> connection =
      ConnectTls(address, options, Deadline(timeout));
  if (connection.ok()) return connection;
  return WithOperation(absl::StrCat("TlsClient(", address.ToString(), ")"),
                       connection.status());
}

}  // namespace mp
