#include "mp/process/internal/stdio_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"

namespace mp::internal {

absl::StatusOr<StdioPipe> CreateStdioPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  Fd reader = Fd::AboveStdio(Fd(ends[0]));
  return StdioPipe{std::move(reader), Fd::AboveStdio(Fd(ends[1]))};
}

}  // namespace mp::internal
