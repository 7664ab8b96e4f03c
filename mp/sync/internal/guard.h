#ifndef MP_SYNC_INTERNAL_GUARD_H_
#define MP_SYNC_INTERNAL_GUARD_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"

namespace mp::internal {

// Holds a lock for a scope, by two functions of it that acquire with a timeout
// and release.
//
// Example:
//   MP_ASSIGN_OR_RETURN(LockGuard guard,
//                       LockGuard::Take(lock, absl::Seconds(1)));
//
// Owns: one acquisition; the destructor releases it. The lock's handle outlives
//       the guard.
template <typename L, auto kAcquire = &L::Acquire, auto kRelease = &L::Release>
class [[nodiscard]] Guard {
 public:
  // Waits for the lock.
  //
  // Errors: those of the function that acquires.
  static absl::StatusOr<Guard> Take(
      L& lock, absl::Duration timeout = absl::InfiniteDuration()) {
    MP_RETURN_IF_ERROR((lock.*kAcquire)(timeout));
    return Guard(lock);
  }

  Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
  Guard& operator=(Guard&& other) noexcept {
    std::swap(lock_, other.lock_);
    return *this;
  }
  ~Guard() { Release().IgnoreError(); }

  // Releases it now, once.
  //
  // Errors: those of the one that releases.
  absl::Status Release() {
    L* const lock = std::exchange(lock_, nullptr);
    return lock == nullptr ? absl::OkStatus() : (lock->*kRelease)();
  }

 private:
  explicit Guard(L& lock) : lock_(&lock) {}

  L* lock_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_GUARD_H_
