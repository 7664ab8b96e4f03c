#include "mp/ipc/listener.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/accepting.h"
#include "mp/ipc/internal/guests.h"
#include "mp/ipc/internal/listening_socket.h"
#include "mp/ipc/internal/stream_socket.h"
#include "mp/ipc/internal/turn.h"
#include "mp/process/after_fork.h"
#include "mp/process/auth_key.h"
#include "mp/process/finalizer.h"

namespace mp {
namespace {

using ::mp::internal::CheckHandshakeOptions;
using ::mp::internal::Guests;
using ::mp::internal::kExhaustionPause;
using ::mp::internal::ListenerIsClosed;
using ::mp::internal::ListeningSocket;
using ::mp::internal::NoAddress;
using ::mp::internal::NoClientCame;

ListeningSocket::Options SocketOptions(const ListenerOptions& options) {
  return {.backlog = options.backlog,
          .allow_remote = options.authkey.has_value()};
}

Guests::Options GuestOptions(const ListenerOptions& options) {
  return {.authkey = options.authkey.value_or(AuthKey()),
          .allow_md5 = options.allow_md5,
          .timeout = options.handshake_timeout};
}

}  // namespace

class Listener::State {
 public:
  State(ListeningSocket socket, const ListenerOptions& options)
      : options_(options),
        address_(socket.address()),
        socket_(std::move(socket)),
        guests_(GuestOptions(options)) {}

  absl::Status Prepare(std::weak_ptr<State> self);
  absl::StatusOr<Connection> Accept(const Deadline& deadline);
  void Close();

  bool closed() const { return closed_; }
  int fileno() const { return closed_ ? -1 : epoll_.get(); }
  const Address& address() const { return address_; }

  std::optional<Address> last_accepted() const {
    const ForkSafeLock lock(mutex_);
    return last_accepted_;
  }

 private:
  using Accepted = ListeningSocket::Accepted;
  using MaybeConnection = absl::StatusOr<std::optional<Connection>>;

  absl::StatusOr<Connection> AcceptInTurn(const Deadline& deadline);
  MaybeConnection TryAccept(const Deadline& deadline);
  MaybeConnection TryGuests();
  MaybeConnection TryClients(const Deadline& deadline);
  absl::StatusOr<std::optional<Accepted>> NextClient(const Deadline& deadline);
  absl::Status CheckUser(const Accepted& client) const;
  void NoteAccepted(const Address& peer);
  absl::Status Watch(int operation, int fd, bool watch);
  void SetAlarm(absl::Duration left);

  bool has_room() const {
    return guests_.size() < static_cast<size_t>(options_.max_handshakes);
  }

  const ListenerOptions options_;
  const Address address_;
  std::atomic<bool> closed_{false};

  // For the thread whose turn it is.
  internal::Turn turn_;
  std::optional<ListeningSocket> socket_;
  Guests guests_;

  // Readable when there is something to do: at the socket, at one of the
  // guests, or because the alarm rings.
  Fd epoll_;
  // Rings when the time of a guest is over, and when this is to be closed.
  Fd alarm_;

  mutable ForkSafeMutex mutex_;
  std::optional<Address> last_accepted_ ABSL_GUARDED_BY(mutex_);

  // In a forked child. The epoll object is also the parent's: nothing must be
  // taken out of it. The guests' connections close themselves.
  AfterFork after_fork_{[this] {
    closed_ = true;
    mutex_.Reset();
    epoll_.Close();
    alarm_.Close();
    socket_.reset();
  }};
  Finalizer at_exit_;
};

absl::Status Listener::State::Prepare(std::weak_ptr<State> self) {
  epoll_ = Fd::AboveStdio(Fd(epoll_create1(EPOLL_CLOEXEC)));
  if (!epoll_.is_open()) return ErrnoStatus(errno, "epoll_create1");
  alarm_ = Fd::AboveStdio(
      Fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
  if (!alarm_.is_open()) return ErrnoStatus(errno, "timerfd_create");
  MP_RETURN_IF_ERROR(Watch(EPOLL_CTL_ADD, alarm_.get(), true));
  MP_RETURN_IF_ERROR(Watch(EPOLL_CTL_ADD, socket_->fd(), true));
  // With the priority that CPython's has.
  at_exit_ = Finalizer(
      [self = std::move(self)] {
        if (const auto state = self.lock()) state->Close();
      },
      /*exit_priority=*/0);
  return absl::OkStatus();
}

absl::Status Listener::State::Watch(int operation, int fd, bool watch) {
  epoll_event event = {};
  if (watch) event.events = EPOLLIN;
  if (epoll_ctl(epoll_.get(), operation, fd, &event) != 0) {
    return ErrnoStatus(errno, "epoll_ctl");
  }
  return absl::OkStatus();
}

// Sets the alarm, and ends its ringing.
void Listener::State::SetAlarm(absl::Duration left) {
  itimerspec alarm = {};  // never
  if (left != absl::InfiniteDuration()) {
    alarm.it_value = absl::ToTimespec(std::max(left, absl::Nanoseconds(1)));
  }
  timerfd_settime(alarm_.get(), 0, &alarm, nullptr);
}

absl::StatusOr<Connection> Listener::State::Accept(const Deadline& deadline) {
  // Before the turn, which in a forked child may never come.
  if (closed_) return ListenerIsClosed();
  const internal::Turn::Holder turn(turn_, deadline);
  if (!turn.status().ok()) return NoClientCame();
  return AcceptInTurn(deadline);
}

absl::StatusOr<Connection> Listener::State::AcceptInTurn(
    const Deadline& deadline) {
  bool expired = false;
  while (true) {
    if (closed_) return ListenerIsClosed();
    MP_ASSIGN_OR_RETURN(std::optional<Connection> connection,
                        TryAccept(deadline));
    if (connection.has_value()) return *std::move(connection);
    if (expired) return NoClientCame();
    SetAlarm(guests_.TimeLeft());
    // Close() says that it closes, then sets the alarm off: either this is seen
    // here, or the alarm is not put off any more.
    if (closed_) return ListenerIsClosed();
    MP_ASSIGN_OR_RETURN(const bool ready,
                        WaitForFd(epoll_.get(), POLLIN, deadline));
    expired = !ready || deadline.Expired();
  }
}

Listener::State::MaybeConnection Listener::State::TryAccept(
    const Deadline& deadline) {
  MP_ASSIGN_OR_RETURN(std::optional<Connection> connection, TryGuests());
  if (connection.has_value()) return connection;
  return TryClients(deadline);
}

// Goes on with the handshakes.
Listener::State::MaybeConnection Listener::State::TryGuests() {
  const bool was_full = !has_room();
  absl::StatusOr<std::optional<Guests::Friend>> found =
      guests_.GoOn(epoll_.get());
  if (was_full && has_room()) {
    MP_RETURN_IF_ERROR(Watch(EPOLL_CTL_MOD, socket_->fd(), true));
  }
  MP_RETURN_IF_ERROR(found.status());
  if (!found->has_value()) return std::nullopt;
  NoteAccepted((*found)->peer);
  return std::move((*found)->connection);
}

// Lets those in who wait at the socket: one, or all into the handshake.
Listener::State::MaybeConnection Listener::State::TryClients(
    const Deadline& deadline) {
  while (has_room()) {
    MP_ASSIGN_OR_RETURN(std::optional<Accepted> client, NextClient(deadline));
    if (!client.has_value()) return std::nullopt;
    MP_RETURN_IF_ERROR(CheckUser(*client));
    MP_ASSIGN_OR_RETURN(Connection connection,
                        Connection::FromFd(std::move(client->socket)));
    if (!options_.authkey.has_value()) {
      NoteAccepted(client->peer);
      return connection;
    }
    MP_RETURN_IF_ERROR(guests_.Add(std::move(connection),
                                   std::move(client->peer), epoll_.get()));
  }
  MP_RETURN_IF_ERROR(Watch(EPOLL_CTL_MOD, socket_->fd(), false));
  return std::nullopt;
}

absl::StatusOr<std::optional<ListeningSocket::Accepted>>
Listener::State::NextClient(const Deadline& deadline) {
  absl::StatusOr<std::optional<Accepted>> client = socket_->TryAccept();
  if (!absl::IsResourceExhausted(client.status())) return client;
  // accept(2) says so too where there is nobody to accept.
  MP_ASSIGN_OR_RETURN(
      const bool waiting,
      WaitForFd(socket_->fd(), POLLIN, Deadline(absl::ZeroDuration())));
  if (!waiting) return std::nullopt;
  SetAlarm(absl::InfiniteDuration());
  if (closed_) return ListenerIsClosed();
  MP_RETURN_IF_ERROR(
      WaitForFd(alarm_.get(), POLLIN,
                Deadline(std::min(kExhaustionPause, deadline.Remaining())))
          .status());
  return socket_->TryAccept();
}

// Permissions of files keep others out of other sockets.
absl::Status Listener::State::CheckUser(const Accepted& client) const {
  if (address_.family() != Address::Family::kAbstract || options_.any_user ||
      options_.authkey.has_value()) {
    return absl::OkStatus();
  }
  const absl::Status user = internal::CheckPeerUser(client.socket.get());
  return user.ok() ? user : absl::UnauthenticatedError(user.message());
}

void Listener::State::NoteAccepted(const Address& peer) {
  const ForkSafeLock lock(mutex_);
  last_accepted_ = peer;
}

void Listener::State::Close() {
  if (closed_.exchange(true)) return;
  SetAlarm(absl::ZeroDuration());
  const internal::Turn::Holder turn(turn_, Deadline(absl::InfiniteDuration()));
  guests_.Clear();
  socket_.reset();
  epoll_.Close();
  alarm_.Close();
}

absl::StatusOr<Listener> Listener::Create(const Address& address,
                                          const Options& options) {
  const std::string operation =
      absl::StrCat("Listener::Create(", address.ToString(), ")");
  return Make(operation, options, [&] {
    return ListeningSocket::Create(address, SocketOptions(options));
  });
}

absl::StatusOr<Listener> Listener::FromFd(Fd socket, const Options& options) {
  return Make("Listener::FromFd", options, [&] {
    return ListeningSocket::Adopt(std::move(socket), SocketOptions(options));
  });
}

absl::StatusOr<Listener> Listener::Make(
    absl::string_view operation, const Options& options,
    absl::FunctionRef<absl::StatusOr<internal::ListeningSocket>()> listen) {
  MP_RETURN_IF_ERROR(internal::WithOperation(
      operation, CheckHandshakeOptions(options.handshake_timeout,
                                       options.max_handshakes)));
  absl::StatusOr<ListeningSocket> socket = listen();
  if (!socket.ok()) return internal::WithOperation(operation, socket.status());
  auto state = std::make_shared<State>(*std::move(socket), options);
  MP_RETURN_IF_ERROR(internal::WithOperation(operation, state->Prepare(state)));
  return Listener(std::move(state));
}

Listener::Listener(std::shared_ptr<State> state) : state_(std::move(state)) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  Close();
  state_ = std::move(other.state_);
  return *this;
}

Listener::~Listener() { Close(); }

absl::StatusOr<Connection> Listener::Accept(absl::Duration timeout) {
  constexpr absl::string_view kOperation = "Listener::Accept";
  if (state_ == nullptr)
    return internal::WithOperation(kOperation, ListenerIsClosed());
  absl::StatusOr<Connection> connection = state_->Accept(Deadline(timeout));
  if (connection.ok()) return connection;
  return internal::WithOperation(kOperation, connection.status());
}

const Address& Listener::address() const {
  return state_ == nullptr ? NoAddress() : state_->address();
}

std::optional<Address> Listener::last_accepted() const {
  if (state_ == nullptr) return std::nullopt;
  return state_->last_accepted();
}

void Listener::Close() {
  if (state_ != nullptr) state_->Close();
}

bool Listener::closed() const { return state_ == nullptr || state_->closed(); }

int Listener::fileno() const {
  return state_ == nullptr ? -1 : state_->fileno();
}

}  // namespace mp
