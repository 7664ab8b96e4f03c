#include "mp/base/frame_wait.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/frame_turn.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// From one look at who lives to the next.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

}  // namespace

bool PipeIsReady(int pipe, short event) {
  pollfd entry = {pipe, event, 0};
  // A pending signal interrupts even a poll() that does not wait.
  const int ready = RetryOnEintr([&] { return poll(&entry, 1, 0); });
  if (ready == 0) errno = EAGAIN;
  return ready > 0;
}

absl::StatusOr<bool> AwaitStream(int stream, short event,
                                 const Deadline& deadline, FrameTurn* turn) {
  if (turn == nullptr) return WaitForFd(stream, event, deadline);
  while (true) {
    const Deadline next_look(std::min(deadline.Remaining(), kSlice));
    MP_ASSIGN_OR_RETURN(bool ready, WaitForFd(stream, event, next_look));
    if (ready) return true;
    const absl::Status other_end = turn->CheckOtherEnd();
    if (!other_end.ok()) {
      // What it did before it ended may have come since.
      MP_ASSIGN_OR_RETURN(ready, WaitForFd(stream, event, next_look));
      if (ready) return true;
      return other_end;
    }
    if (deadline.Expired()) return false;
  }
}

}  // namespace mp::internal
