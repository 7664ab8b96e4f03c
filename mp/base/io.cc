#include "mp/base/io.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <ctime>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"

namespace mp {

absl::StatusOr<int> PollUntil(absl::Span<pollfd> fds,
                              const Deadline& deadline) {
  while (true) {
    const std::optional<timespec> left = deadline.RemainingTimespec();
    const int ready =
        ppoll(fds.data(), fds.size(), left ? &*left : nullptr, nullptr);
    if (ready >= 0) return ready;
    if (errno != EINTR) return ErrnoStatus(errno, "ppoll");
  }
}

absl::StatusOr<bool> WaitForFd(int fd, short events, const Deadline& deadline) {
  pollfd entry = {fd, events, 0};
  MP_ASSIGN_OR_RETURN(const int ready,
                      PollUntil(absl::MakeSpan(&entry, 1), deadline));
  return ready > 0;
}

absl::Status WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        RetryOnEintr([&] { return write(fd, bytes.data(), bytes.size()); });
    if (written < 0) return ErrnoStatus(errno, absl::StrCat("write(", fd, ")"));
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ReadUpTo(int fd, char* buffer, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got =
        RetryOnEintr([&] { return read(fd, buffer + filled, size - filled); });
    if (got < 0) return ErrnoStatus(errno, absl::StrCat("read(", fd, ")"));
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

absl::StatusOr<std::string> ReadToEnd(int fd) {
  std::string text;
  char buffer[1 << 14];
  while (true) {
    MP_ASSIGN_OR_RETURN(const size_t got, ReadUpTo(fd, buffer, sizeof(buffer)));
    text.append(buffer, got);
    if (got < sizeof(buffer)) return text;
  }
}

}  // namespace mp
