#ifndef MP_SYNC_INTERNAL_FUTEX_REQUEUE_H_
#define MP_SYNC_INTERNAL_FUTEX_REQUEUE_H_

#include <cstdint>

#include "mp/base/futex.h"

namespace mp::internal {

// Has one that sleeps on `from` sleep on `to` instead, without waking it, if
// `from` is `expected`. Returns whether there was one.
//
// Source: man 2 futex, FUTEX_CMP_REQUEUE without FUTEX_PRIVATE_FLAG.
bool FutexMoveOne(FutexWord& from, uint32_t expected, FutexWord& to);

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_FUTEX_REQUEUE_H_
