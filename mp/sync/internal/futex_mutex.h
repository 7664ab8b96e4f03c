#ifndef MP_SYNC_INTERNAL_FUTEX_MUTEX_H_
#define MP_SYNC_INTERNAL_FUTEX_MUTEX_H_

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace mp::internal {

// The least that a lock between processes can be: what ours are measured by.
// All zero is a free one.
//
// Source: U. Drepper, "Futexes Are Tricky", mutex 2.
class FutexMutex {
 public:
  void Lock() {
    uint32_t seen = 0;
    if (word_.compare_exchange_strong(seen, 1, std::memory_order_acquire)) {
      return;
    }
    if (seen != 2) seen = word_.exchange(2, std::memory_order_acquire);
    while (seen != 0) {
      syscall(SYS_futex, &word_, FUTEX_WAIT, 2, nullptr, nullptr, 0);
      seen = word_.exchange(2, std::memory_order_acquire);
    }
  }

  void Unlock() {
    if (word_.exchange(0, std::memory_order_release) == 2) {
      syscall(SYS_futex, &word_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
  }

 private:
  std::atomic<uint32_t> word_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_FUTEX_MUTEX_H_
