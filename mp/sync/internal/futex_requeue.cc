#include "mp/sync/internal/futex_requeue.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "mp/base/futex.h"

namespace mp::internal {

bool FutexMoveOne(FutexWord& from, uint32_t expected, FutexWord& to) {
  constexpr int kWake = 0;
  constexpr intptr_t kMove = 1;
  return syscall(SYS_futex, &from, FUTEX_CMP_REQUEUE, kWake, kMove, &to,
                 expected) > 0;
}

}  // namespace mp::internal
