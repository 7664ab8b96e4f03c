#include "mp/base/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <optional>

#include "mp/base/deadline.h"

namespace mp {

FutexResult FutexWait(FutexWord& word, uint32_t expected,
                      const Deadline& deadline) {
  const std::optional<timespec> left = deadline.RemainingTimespec();
  if (syscall(SYS_futex, &word, FUTEX_WAIT, expected, left ? &*left : nullptr,
              nullptr, 0) == 0) {
    return FutexResult::kWoken;
  }
  switch (errno) {
    case EAGAIN:
      return FutexResult::kChanged;
    case ETIMEDOUT:
      return FutexResult::kTimedOut;
    default:
      return FutexResult::kWoken;
  }
}

int FutexWake(FutexWord& word, int count) {
  const long woken =
      syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

}  // namespace mp
