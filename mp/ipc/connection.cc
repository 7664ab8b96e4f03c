#include "mp/ipc/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/frame.h"
#include "mp/base/frame_turn.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/shared_end.h"
#include "mp/ipc/internal/shared_turn.h"
#include "mp/ipc/internal/transport.h"
#include "mp/ipc/internal/turn.h"
#include "mp/process/after_fork.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp {
namespace {

using internal::SharedEnd;
using internal::SharedTurn;
using internal::Turn;
using internal::Way;

// Where a status keeps the message that was too long for a buffer.
constexpr char kMessagePayload[] = "mp/ipc/Connection.message";

absl::Status WithContext(absl::string_view operation,
                         const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("Connection::", operation,
                                                  ": ", status.message()));
}

absl::Status Refuse(absl::string_view operation, absl::string_view problem) {
  return WithContext(operation, absl::FailedPreconditionError(problem));
}

}  // namespace

struct Connection::State {
  // What sending has, and receiving.
  struct Role {
    internal::Turn turn;
    // Nothing can be done any more, as far as this process knows.
    bool is_broken = false;
    // This object has the turn among processes. As long as it is in the middle
    // of a message, it has it between two calls too.
    bool is_held = false;
  };

  State(Fd fd, Direction direction) : fd(std::move(fd)), direction(direction) {}
  State(Fd fd, Direction direction, SharedEnd end)
      : State(std::move(fd), direction) {
    StartSharing(std::move(end));
  }
  explicit State(std::unique_ptr<internal::Transport> transport)
      : transport(std::move(transport)), direction(Direction::kBoth) {}
  ~State() { Close(); }

  bool IsOpen() const { return fd.is_open() || transport != nullptr; }
  int FileNumber() const {
    return transport != nullptr ? transport->fd() : fd.get();
  }
  Role& RoleOf(Way way) { return way == Way::kSend ? sender : receiver; }

  void StartSharing(SharedEnd end) {
    shared.emplace(std::move(end));
    atomic_bytes = internal::AtomicBytesOf(fd.get());
    is_shared.store(true);
  }
  absl::Status Share();
  void Settle(Way way);
  void ReleaseTurn(Way way);
  bool IsCut(Way way) const {
    return is_shared.load() &&
           shared->TurnOf(way).cut().cause != SharedTurn::Cause::kNone;
  }
  void MarkCut(Way way);
  absl::Status CheckMaker(absl::string_view operation) const;
  void Close();

  Fd fd;
  // Instead of `fd`.
  std::unique_ptr<internal::Transport> transport;
  const Direction direction;
  const pid_t maker = getpid();

  Role sender;
  Role receiver;
  FrameReader reader;

  // With whom the end is shared. Once there, it stays.
  ForkSafeMutex sharing;
  std::atomic<bool> is_shared{false};
  std::optional<SharedEnd> shared;
  size_t atomic_bytes = 0;

  // In a forked child that has not been given this end.
  AfterFork after_fork{[this] { Close(); }};
};

// What a forked child has of a transport is a copy, which two must not use.
absl::Status Connection::State::CheckMaker(absl::string_view operation) const {
  if (transport == nullptr || maker == getpid()) return absl::OkStatus();
  return Refuse(
      operation,
      absl::StrCat("the connection is one over ", transport->name(),
                   " of process ", maker, ", which a fork does not pass on"));
}

// Begins to take turns with processes that are about to get this end. A thread
// that is in a call here began it without: so this object has the turn on its
// behalf, until that call is over.
absl::Status Connection::State::Share() {
  const ForkSafeLock lock(sharing);
  if (is_shared.load()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(SharedEnd end, SharedEnd::CreateOne());
  const Deadline now(absl::ZeroDuration());
  {
    // No call begins meanwhile.
    const Turn::Holder holders[] = {{sender.turn, now}, {receiver.turn, now}};
    bool has_taken[] = {false, false};
    for (const Way way : {Way::kSend, Way::kReceive}) {
      SharedTurn turn = end.TurnOf(way);
      const auto i = static_cast<int>(way);
      if (!holders[i].status().ok()) {
        MP_RETURN_IF_ERROR(turn.Take(Deadline(absl::InfiniteDuration())));
        turn.Begin();
        has_taken[i] = true;
      } else if (RoleOf(way).is_broken) {
        turn.MarkCut(SharedTurn::Cause::kGaveUp, getpid());
      }
    }
    if (has_taken[0]) sender.is_held = true;
    if (has_taken[1]) receiver.is_held = true;
    StartSharing(std::move(end));
  }
  Settle(Way::kSend);
  Settle(Way::kReceive);
  return absl::OkStatus();
}

// Gives back what Share() took on behalf of a call that is over.
void Connection::State::Settle(Way way) {
  const Turn::Holder holder(RoleOf(way).turn, Deadline(absl::ZeroDuration()));
  if (holder.status().ok()) ReleaseTurn(way);
}

// For one who has the turn among threads.
void Connection::State::ReleaseTurn(Way way) {
  Role& role = RoleOf(way);
  if (!role.is_held ||
      (way == Way::kReceive && reader.MidFrame() && !role.is_broken)) {
    return;
  }
  shared->TurnOf(way).Release();
  role.is_held = false;
}

// The other end, and those that share this one, are to know that there is no
// going on.
void Connection::State::MarkCut(Way way) {
  RoleOf(way).is_broken = true;
  if (is_shared.load()) {
    shared->TurnOf(way).MarkCut(SharedTurn::Cause::kGaveUp, getpid());
  }
  if (way == Way::kSend) shutdown(FileNumber(), SHUT_WR);
}

void Connection::State::Close() {
  if (is_shared.load() && receiver.is_held) {
    SharedTurn turn = shared->TurnOf(Way::kReceive);
    if (turn.IsOwn()) {
      MarkCut(Way::kReceive);
      shutdown(fd.get(), SHUT_RD);
      turn.Release();
    }
    receiver.is_held = false;
  }
  fd.Close();
  transport.reset();
}

// The right to send or receive, among the threads of this process and among the
// processes that share the end.
class Connection::Hold {
 public:
  Hold(State& state, Way way, const Deadline& deadline)
      : state_(state), way_(way) {
    thread_turn_.emplace(state.RoleOf(way).turn, deadline);
    status_ = thread_turn_->status();
    if (!status_.ok()) return;
    if (state.is_shared.load()) status_ = TakeShared(deadline);
    if (status_.ok()) status_ = CheckWhole();
  }
  ~Hold() {
    if (!thread_turn_->status().ok()) return;
    const bool is_shared = state_.is_shared.load();
    if (is_shared) state_.ReleaseTurn(way_);
    thread_turn_.reset();
    if (!is_shared && state_.is_shared.load()) state_.Settle(way_);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  // kDeadlineExceeded if another had it all the time; kFailedPrecondition or
  // kDataLoss if the stream is cut.
  const absl::Status& status() const { return status_; }

  FrameTurn* frame_turn() {
    return frame_turn_.has_value() ? &*frame_turn_ : nullptr;
  }

 private:
  absl::Status TakeShared(const Deadline& deadline);
  absl::Status CheckWhole() const;

  State& state_;
  const Way way_;
  std::optional<Turn::Holder> thread_turn_;
  std::optional<internal::EndTurn> frame_turn_;
  absl::Status status_;
};

absl::Status Connection::Hold::TakeShared(const Deadline& deadline) {
  State::Role& role = state_.RoleOf(way_);
  SharedTurn turn = state_.shared->TurnOf(way_);
  if (role.is_held && !turn.IsOwn()) {
    // It is that of the process that this one was forked from, and so is what
    // it has received of a message.
    role.is_held = false;
    if (way_ == Way::kReceive) state_.reader = FrameReader();
  }
  if (!role.is_held) {
    MP_RETURN_IF_ERROR(turn.Take(deadline));
    role.is_held = true;
  }
  frame_turn_.emplace(*state_.shared, way_, state_.atomic_bytes);
  return absl::OkStatus();
}

absl::Status Connection::Hold::CheckWhole() const {
  const bool sends = way_ == Way::kSend;
  if (state_.is_shared.load()) {
    const SharedTurn::Cut cut = state_.shared->TurnOf(way_).cut();
    if (cut.cause == SharedTurn::Cause::kDied) {
      // So the other end sees it, too.
      shutdown(state_.fd.get(), sends ? SHUT_WR : SHUT_RD);
      const std::string text = absl::StrCat(
          "process ", cut.pid,
          ", which shared this end, ended in the middle of ",
          sends ? "sending" : "receiving",
          " a message, and nobody can go on with it; open a new connection");
      return sends ? absl::FailedPreconditionError(text)
                   : absl::DataLossError(text);
    }
  }
  if (!state_.RoleOf(way_).is_broken && !state_.IsCut(way_)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      sends ? "an earlier message was cut short; open a new connection"
            : "an earlier message could not be read whole; open a new "
              "connection");
}

Connection::Connection() = default;
Connection::Connection(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
Connection::Connection(Fd fd, Direction direction, SharedEnd shared)
    : Connection(std::make_unique<State>(std::move(fd), direction,
                                         std::move(shared))) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

absl::StatusOr<Connection> Connection::FromFd(Fd fd, Direction direction) {
  if (fcntl(fd.get(), F_GETFD) < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Connection::FromFd: descriptor ", fd.get(), " is not open"));
  }
  return Connection(std::make_unique<State>(std::move(fd), direction));
}

Connection Connection::FromTransport(
    std::unique_ptr<internal::Transport> transport) {
  return Connection(std::make_unique<State>(std::move(transport)));
}

absl::Status Connection::Write(absl::string_view operation,
                               absl::string_view bytes,
                               absl::Span<const int> fds,
                               absl::Duration timeout) {
  if (closed()) return Refuse(operation, "this end is closed");
  if (!writable()) return Refuse(operation, "this end is read-only");
  MP_RETURN_IF_ERROR(state_->CheckMaker(operation));
  const Deadline deadline(timeout);
  Hold hold(*state_, Way::kSend, deadline);
  MP_RETURN_IF_ERROR(WithContext(operation, hold.status()));
  bool cut = false;
  const absl::Status status =
      state_->transport != nullptr
          ? WriteFrame(*state_->transport, bytes, fds, deadline, &cut)
          : WriteFrame(state_->fd.get(), bytes, fds, deadline, &cut,
                       hold.frame_turn());
  if (cut) state_->MarkCut(Way::kSend);
  return WithContext(operation, status);
}

absl::StatusOr<Connection::Received> Connection::Read(
    absl::string_view operation, absl::Span<char> buffer,
    absl::Duration timeout, uint64_t max_bytes) {
  if (closed()) return Refuse(operation, "this end is closed");
  if (!readable()) return Refuse(operation, "this end is write-only");
  MP_RETURN_IF_ERROR(state_->CheckMaker(operation));
  const Deadline deadline(timeout);
  Hold hold(*state_, Way::kReceive, deadline);
  MP_RETURN_IF_ERROR(WithContext(operation, hold.status()));
  absl::StatusOr<FrameReader::Frame> frame =
      state_->reader.Read({.fd = state_->fd.get(),
                           .turn = hold.frame_turn(),
                           .stream = state_->transport.get()},
                          max_bytes, deadline, buffer);
  if (frame.ok()) {
    return Received{Parcel{std::move(frame->bytes), std::move(frame->fds)},
                    frame->size, frame->is_in_buffer};
  }
  if (absl::IsDataLoss(frame.status()) ||
      absl::IsResourceExhausted(frame.status())) {
    state_->MarkCut(Way::kReceive);
  }
  return WithContext(operation, frame.status());
}

absl::Status Connection::SendParcel(Parcel parcel, absl::Duration timeout) {
  std::vector<int> fds;
  fds.reserve(parcel.handles.size());
  for (const Fd& fd : parcel.handles) fds.push_back(fd.get());
  return Write("Send", parcel.bytes, fds, timeout);
}

absl::StatusOr<Parcel> Connection::RecvParcel(absl::Duration timeout,
                                              uint64_t max_bytes) {
  MP_ASSIGN_OR_RETURN(Received received, Read("Recv", {}, timeout, max_bytes));
  return std::move(received.parcel);
}

absl::Status Connection::SendBytes(absl::string_view bytes,
                                   absl::Duration timeout) {
  return Write("SendBytes", bytes, {}, timeout);
}

absl::StatusOr<std::string> Connection::RecvBytes(absl::Duration timeout,
                                                  uint64_t max_bytes) {
  MP_ASSIGN_OR_RETURN(Received received,
                      Read("RecvBytes", {}, timeout, max_bytes));
  return std::move(received.parcel.bytes);
}

absl::StatusOr<size_t> Connection::RecvBytesInto(absl::Span<char> buffer,
                                                 absl::Duration timeout,
                                                 uint64_t max_bytes) {
  MP_ASSIGN_OR_RETURN(Received received,
                      Read("RecvBytesInto", buffer, timeout, max_bytes));
  if (received.is_in_buffer || received.size == 0) return received.size;
  absl::Status too_short = absl::InvalidArgumentError(
      absl::StrCat("Connection::RecvBytesInto: the message is ", received.size,
                   " bytes, the buffer has room for ", buffer.size(),
                   "; Connection::MessageOf(status) is the message"));
  too_short.SetPayload(kMessagePayload,
                       absl::Cord(std::move(received.parcel.bytes)));
  return too_short;
}

std::optional<std::string> Connection::MessageOf(const absl::Status& status) {
  const absl::optional<absl::Cord> message = status.GetPayload(kMessagePayload);
  if (!message.has_value()) return std::nullopt;
  return std::string(*message);
}

absl::StatusOr<bool> Connection::Poll(absl::Duration timeout) {
  if (closed()) return Refuse("Poll", "this end is closed");
  if (!readable()) return Refuse("Poll", "this end is write-only");
  MP_RETURN_IF_ERROR(state_->CheckMaker("Poll"));
  if (IsReadyNow()) return true;
  return WaitForFd(state_->FileNumber(), POLLIN, Deadline(timeout));
}

void Connection::Close() { state_.reset(); }

bool Connection::closed() const {
  return state_ == nullptr || !state_->IsOpen();
}

bool Connection::readable() const {
  return !closed() && state_->direction != Direction::kWriteOnly;
}

bool Connection::writable() const {
  return !closed() && state_->direction != Direction::kReadOnly;
}

int Connection::fileno() const { return closed() ? -1 : state_->FileNumber(); }

bool Connection::IsReadyNow() const {
  if (closed()) return false;
  if (state_->transport != nullptr) return state_->transport->HasBuffered();
  return state_->IsCut(Way::kReceive);
}

void Serializer<Connection>::Encode(const Connection& connection,
                                    Encoder& encoder) {
  if (connection.closed()) {
    return encoder.Fail(
        absl::FailedPreconditionError("a closed Connection cannot be sent"));
  }
  if (connection.state_->transport != nullptr) {
    return encoder.Fail(absl::FailedPreconditionError(absl::StrCat(
        "a Connection over ", connection.state_->transport->name(),
        " cannot be sent, as what it encrypts with is known to this process "
        "only; connect from the other one")));
  }
  Connection::State& state = *connection.state_;
  {
    // While another thread receives, the part is that one's.
    const Turn::Holder turn(state.receiver.turn,
                            Deadline(absl::ZeroDuration()));
    if (turn.status().ok() && state.reader.MidFrame()) {
      return encoder.Fail(absl::FailedPreconditionError(
          "a Connection that has received a part of a message cannot be sent; "
          "receive the rest first"));
    }
  }
  if (absl::Status shared = state.Share(); !shared.ok()) {
    return encoder.Fail(std::move(shared));
  }
  encoder.Write(state.direction);
  encoder.WriteHandle(connection.fileno());
  state.shared->Encode(encoder);
}

absl::StatusOr<Connection> Serializer<Connection>::Decode(Decoder& decoder) {
  using Direction = Connection::Direction;
  MP_ASSIGN_OR_RETURN(const auto direction, decoder.Read<Direction>());
  if (direction != Direction::kBoth && direction != Direction::kReadOnly &&
      direction != Direction::kWriteOnly) {
    return absl::DataLossError("Decoder: no direction of a Connection");
  }
  MP_ASSIGN_OR_RETURN(Fd fd, decoder.ReadHandle());
  MP_ASSIGN_OR_RETURN(SharedEnd shared, SharedEnd::Decode(decoder));
  return Connection(std::move(fd), direction, std::move(shared));
}

}  // namespace mp
