#include "mp/ipc/connection.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/frame.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/turn.h"
#include "mp/process/after_fork.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/parcel.h"

namespace mp {

struct Connection::State {
  State(Fd fd, Direction direction) : fd(std::move(fd)), direction(direction) {}

  Fd fd;
  const Direction direction;
  // What the other side of a cut message is, nobody can tell.
  bool send_broken = false;
  bool recv_broken = false;
  FrameReader reader;
  internal::Turn send_turn;
  internal::Turn recv_turn;
  // In a forked child that has not been given this end.
  AfterFork after_fork{[this] { fd.Close(); }};
};

namespace {

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

Connection::Connection() = default;
Connection::Connection(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
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

absl::Status Connection::Write(absl::string_view operation,
                               absl::string_view bytes,
                               absl::Span<const int> fds,
                               absl::Duration timeout) {
  if (closed()) return Refuse(operation, "this end is closed");
  if (!writable()) return Refuse(operation, "this end is read-only");
  const Deadline deadline(timeout);
  const internal::Turn::Holder turn(state_->send_turn, deadline);
  MP_RETURN_IF_ERROR(WithContext(operation, turn.status()));
  if (state_->send_broken) {
    return Refuse(operation, "an earlier message was cut short");
  }
  return WithContext(operation, WriteFrame(state_->fd.get(), bytes, fds,
                                           deadline, &state_->send_broken));
}

absl::StatusOr<Parcel> Connection::Read(absl::string_view operation,
                                        absl::Duration timeout,
                                        uint64_t max_bytes) {
  if (closed()) return Refuse(operation, "this end is closed");
  if (!readable()) return Refuse(operation, "this end is write-only");
  const Deadline deadline(timeout);
  const internal::Turn::Holder turn(state_->recv_turn, deadline);
  MP_RETURN_IF_ERROR(WithContext(operation, turn.status()));
  if (state_->recv_broken) {
    return Refuse(operation, "an earlier message could not be read whole");
  }
  absl::StatusOr<FrameReader::Frame> frame =
      state_->reader.Read(state_->fd.get(), max_bytes, deadline);
  if (frame.ok()) {
    return Parcel{std::move(frame->bytes), std::move(frame->fds)};
  }
  state_->recv_broken = absl::IsDataLoss(frame.status()) ||
                        absl::IsResourceExhausted(frame.status());
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
  return Read("Recv", timeout, max_bytes);
}

absl::Status Connection::SendBytes(absl::string_view bytes,
                                   absl::Duration timeout) {
  return Write("SendBytes", bytes, {}, timeout);
}

absl::StatusOr<std::string> Connection::RecvBytes(absl::Duration timeout,
                                                  uint64_t max_bytes) {
  MP_ASSIGN_OR_RETURN(Parcel parcel, Read("RecvBytes", timeout, max_bytes));
  return std::move(parcel.bytes);
}

absl::StatusOr<bool> Connection::Poll(absl::Duration timeout) {
  if (closed()) return Refuse("Poll", "this end is closed");
  if (!readable()) return Refuse("Poll", "this end is write-only");
  return WaitForFd(state_->fd.get(), POLLIN, Deadline(timeout));
}

void Connection::Close() { state_.reset(); }

bool Connection::closed() const {
  return state_ == nullptr || !state_->fd.is_open();
}

bool Connection::readable() const {
  return !closed() && state_->direction != Direction::kWriteOnly;
}

bool Connection::writable() const {
  return !closed() && state_->direction != Direction::kReadOnly;
}

int Connection::fileno() const { return closed() ? -1 : state_->fd.get(); }

void Serializer<Connection>::Encode(const Connection& connection,
                                    Encoder& encoder) {
  if (connection.closed()) {
    return encoder.Fail(
        absl::FailedPreconditionError("a closed Connection cannot be sent"));
  }
  if (connection.state_->reader.MidFrame()) {
    return encoder.Fail(absl::FailedPreconditionError(
        "a Connection that has received a part of a message cannot be sent; "
        "receive the rest first"));
  }
  encoder.Write(connection.state_->direction);
  encoder.WriteHandle(connection.fileno());
}

absl::StatusOr<Connection> Serializer<Connection>::Decode(Decoder& decoder) {
  using Direction = Connection::Direction;
  MP_ASSIGN_OR_RETURN(const auto direction, decoder.Read<Direction>());
  if (direction != Direction::kBoth && direction != Direction::kReadOnly &&
      direction != Direction::kWriteOnly) {
    return absl::DataLossError("Decoder: no direction of a Connection");
  }
  MP_ASSIGN_OR_RETURN(Fd fd, decoder.ReadHandle());
  return Connection::FromFd(std::move(fd), direction);
}

}  // namespace mp
