#include "mp/testing/marker.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp::testing {

absl::StatusOr<Marker> Marker::Create() {
  int ends[2];
  // Not blocking, since another may take the byte between poll and read.
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "pipe2");
  }
  return Marker(Fd(ends[0]), Fd(ends[1]));
}

absl::Status Marker::Signal() { return WriteAll(writer_.get(), "!"); }

absl::Status Marker::Await(absl::Duration timeout) {
  const Deadline deadline(timeout);
  while (true) {
    char byte;
    const ssize_t got =
        RetryOnEintr([&] { return read(reader_.get(), &byte, 1); });
    if (got == 1) return absl::OkStatus();
    if (got == 0) return absl::OutOfRangeError("Marker: all writers are gone");
    if (errno != EAGAIN) return ErrnoStatus(errno, "Marker: read");
    MP_ASSIGN_OR_RETURN(const bool ready,
                        WaitForFd(reader_.get(), POLLIN, deadline));
    if (!ready) return absl::DeadlineExceededError("Marker: no signal in time");
  }
}

}  // namespace mp::testing
