#include "mp/base/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"

namespace mp {

void Fd::Close() {
  if (fd_ < 0) return;
  const int saved_errno = errno;
  // Linux frees the descriptor even when close() is interrupted, so a second
  // try could close a stranger's (man 2 close, "Dealing with error returns").
  close(Release());
  errno = saved_errno;
}

absl::StatusOr<Fd> Fd::DupOf(int fd) {
  if (fd < 0) return absl::InvalidArgumentError("Fd::Dup: the fd is closed");
  Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!copy.is_open()) {
    return ErrnoStatus(errno, absl::StrCat("fcntl(", fd, ", F_DUPFD_CLOEXEC)"));
  }
  return copy;
}

Fd Fd::AboveStdio(Fd fd) {
  if (!fd.is_open() || fd.get() > STDERR_FILENO) return fd;
  absl::StatusOr<Fd> moved = fd.Dup();
  return moved.ok() ? *std::move(moved) : std::move(fd);
}

}  // namespace mp
