#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "mp/sharedmem/internal/link_file.h"

namespace mp::internal {

bool LinkFile(int fd, const std::string& path) {
  if (linkat(fd, "", AT_FDCWD, path.c_str(), AT_EMPTY_PATH) == 0) return true;
  // What the kernel answers to one who lacks the right.
  if (errno != ENOENT) return false;
  const std::string self = absl::StrCat("/proc/self/fd/", fd);
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(),
             AT_SYMLINK_FOLLOW) == 0) {
    return true;
  }
  if (errno == ENOENT) errno = EOPNOTSUPP;
  return false;
}

}  // namespace mp::internal
