#ifndef MP_BASE_FUTEX_H_
#define MP_BASE_FUTEX_H_

#include <atomic>
#include <cstdint>

#include "mp/base/deadline.h"

namespace mp {

// A futex word, in memory that several processes may share.
//
// Shape: 4 bytes, 4-byte aligned.
using FutexWord = std::atomic<uint32_t>;
static_assert(sizeof(FutexWord) == 4 && FutexWord::is_always_lock_free);

enum class FutexResult {
  kWoken,    // by a wake, by a signal or for no reason: look at the word again
  kChanged,  // the word was not `expected`; did not sleep
  kTimedOut,
};

// Sleeps while `word` is `expected`, until woken or `deadline`.
//
// Source: man 2 futex, FUTEX_WAIT without FUTEX_PRIVATE_FLAG.
FutexResult FutexWait(FutexWord& word, uint32_t expected,
                      const Deadline& deadline);

// Wakes up to `count` of the sleepers of all processes. Returns how many.
//
// Source: man 2 futex, FUTEX_WAKE without FUTEX_PRIVATE_FLAG.
int FutexWake(FutexWord& word, int count);

}  // namespace mp

#endif  // MP_BASE_FUTEX_H_
