#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/fill_file.h"

namespace mp::internal {
namespace {

// pwrite(2) beyond this would raise SIGXFSZ.
bool MayBeWrittenUpTo(size_t end) {
  rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
         (limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur);
}

// Whether the file has all its pages, which is sooner asked than where.
bool IsWhole(int fd) {
  constexpr off_t kStatBlock = 512;  // the unit of st_blocks
  struct stat info;
  return fstat(fd, &info) == 0 && info.st_blocks * kStatBlock >= info.st_size;
}

// Where the first thing of that kind is, at most `end`.
size_t Find(int fd, size_t from, size_t end, int whence) {
  const off_t found = lseek(fd, from, whence);
  return found < 0 ? end : std::min(end, static_cast<size_t>(found));
}

// Returns how much was written: none if the file refuses any.
absl::StatusOr<size_t> Write(int fd, size_t offset, absl::string_view bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t done = RetryOnEintr([&] {
      return pwrite(fd, bytes.data() + written, bytes.size() - written,
                    offset + written);
    });
    if (done > 0) {
      written += done;
    } else if (done < 0 && (errno == ENOSPC || errno == ENOMEM)) {
      return ErrnoStatus(errno, absl::StrCat("SharedMemory: pwrite of ",
                                             bytes.size() - written, " bytes"));
    } else {
      break;
    }
  }
  return written;
}

}  // namespace

absl::Status FillFile(int fd, char* memory, size_t offset,
                      absl::string_view bytes) {
  const size_t end = offset + bytes.size();
  const auto copy = [&](size_t from, size_t to) {
    // They may lie in the same block.
    std::memmove(memory + from, bytes.data() + (from - offset), to - from);
  };
  if (!MayBeWrittenUpTo(end) || IsWhole(fd)) {
    copy(offset, end);
    return absl::OkStatus();
  }
  for (size_t at = offset; at < end;) {
    const size_t hole = Find(fd, at, end, SEEK_HOLE);
    copy(at, hole);
    if (hole == end) break;
    const size_t data = Find(fd, hole, end, SEEK_DATA);
    MP_ASSIGN_OR_RETURN(
        const size_t written,
        Write(fd, hole, bytes.substr(hole - offset, data - hole)));
    copy(hole + written, data);
    at = data;
  }
  return absl::OkStatus();
}

}  // namespace mp::internal
