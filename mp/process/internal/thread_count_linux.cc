#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/sanitizers.h"
#include "mp/process/internal/thread_count.h"

namespace mp::internal {

absl::StatusOr<int> CountThreads() {
  struct stat info;
  if (stat("/proc/self/task", &info) != 0) {
    return ErrnoStatus(errno, "stat(\"/proc/self/task\")");
  }
  constexpr int kLinksOfTheFolder = 2;
  const int threads = static_cast<int>(info.st_nlink) - kLinksOfTheFolder;
  // The sanitizer's own thread comes with the program's second at the latest.
  return kThreadSanitizer ? std::max(threads - 1, 1) : threads;
}

}  // namespace mp::internal
