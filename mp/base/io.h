#ifndef MP_BASE_IO_H_
#define MP_BASE_IO_H_

#include <poll.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"

namespace mp {

// Calls `call` again for as long as a signal interrupts it, and returns what it
// returns. `call` is a system call that sets errno.
template <typename Call>
auto RetryOnEintr(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

// Waits until one of `fds` is ready, or `deadline`. Returns how many are ready;
// 0 says that the time is over. Signals do not end the wait.
//
// Source: man 2 ppoll.
absl::StatusOr<int> PollUntil(absl::Span<pollfd> fds, const Deadline& deadline);

// The same for one descriptor, `events` being POLLIN or POLLOUT. An error or a
// hang-up counts as ready, so that the following read or write reports it.
absl::StatusOr<bool> WaitForFd(int fd, short events, const Deadline& deadline);

// Writes all of `bytes` to a file, pipe or socket. A pipe whose reader is gone
// raises SIGPIPE as usual.
absl::Status WriteAll(int fd, absl::string_view bytes);

// Reads `size` bytes, fewer only where the file ends. Returns how many.
absl::StatusOr<size_t> ReadUpTo(int fd, char* buffer, size_t size);

// Reads what there is from here to the end of the file.
absl::StatusOr<std::string> ReadToEnd(int fd);

}  // namespace mp

#endif  // MP_BASE_IO_H_
