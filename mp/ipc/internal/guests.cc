#include "mp/ipc/internal/guests.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/run_handshake.h"

namespace mp::internal {
namespace {

const Deadline& Now() {
  static const Deadline now(absl::ZeroDuration());
  return now;
}

}  // namespace

absl::Status Guests::Add(Connection connection, Address peer, int epoll) {
  epoll_event event = {};
  event.events = EPOLLIN;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection.fileno(), &event) != 0) {
    return ErrnoStatus(errno, "epoll_ctl");
  }
  Guest& guest =
      guests_.emplace_back(std::move(connection), std::move(peer), options_);
  // A new socket has room for it. If this fails, so will receiving the answer.
  SendOfHandshake(guest.connection, guest.handshake.Start(), Now())
      .IgnoreError();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Guests::Friend>> Guests::GoOn(int epoll) {
  for (auto guest = guests_.begin(); guest != guests_.end(); ++guest) {
    const absl::Status status = GoOnWith(*guest);
    if (absl::IsDeadlineExceeded(status) && !guest->deadline.Expired()) {
      continue;
    }
    epoll_ctl(epoll, EPOLL_CTL_DEL, guest->connection.fileno(), nullptr);
    Friend found = {std::move(guest->connection), std::move(guest->peer)};
    guests_.erase(guest);
    if (status.ok()) return found;
    return absl::UnauthenticatedError(
        absl::StrCat("client ", found.peer.ToString(), ": ", status.message()));
  }
  return std::nullopt;
}

// Returns kDeadlineExceeded if there is nothing more to receive yet.
absl::Status Guests::GoOnWith(Guest& guest) const {
  while (!guest.handshake.finished()) {
    MP_RETURN_IF_ERROR(StepHandshake(guest.connection, guest.handshake, Now()));
    // If the listener was away for longer than that, the client could not know.
    if (guest.deadline.Expired()) guest.deadline = Deadline(options_.timeout);
  }
  return guest.handshake.status();
}

absl::Duration Guests::TimeLeft() const {
  absl::Duration left = absl::InfiniteDuration();
  for (const Guest& guest : guests_) {
    left = std::min(left, guest.deadline.Remaining());
  }
  return left;
}

}  // namespace mp::internal
