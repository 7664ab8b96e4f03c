#ifndef MP_BASE_FORK_SAFE_MUTEX_H_
#define MP_BASE_FORK_SAFE_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp {

// A mutex that works in a forked child of a program with threads.
//
// An absl::Mutex may take locks of all mutexes together, such as that of its
// deadlock detection; another thread may hold one at the fork, and then no
// absl::Mutex works in the child any more. This one has no state but its own.
//
// Fork: one that another thread may have held has to be Reset() in the child.
class ABSL_LOCKABLE ForkSafeMutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    LockUntil(Deadline(absl::InfiniteDuration()));
  }

  // Returns false if it could not be had before `deadline`.
  bool LockUntil(const Deadline& deadline)
      ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);

  void Unlock() ABSL_UNLOCK_FUNCTION();

  // In a forked child, before anything else uses it: makes it a free one.
  void Reset();

 private:
  // 0: free; 1: taken; 2: taken, and somebody may wait.
  FutexWord state_{0};
};

// Holds a ForkSafeMutex for a scope.
class ABSL_SCOPED_LOCKABLE ForkSafeLock {
 public:
  explicit ForkSafeLock(ForkSafeMutex& mutex)
      ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex)
      : mutex_(mutex) {
    mutex_.Lock();
  }
  ~ForkSafeLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  ForkSafeLock(const ForkSafeLock&) = delete;
  ForkSafeLock& operator=(const ForkSafeLock&) = delete;

 private:
  ForkSafeMutex& mutex_;
};

}  // namespace mp

#endif  // MP_BASE_FORK_SAFE_MUTEX_H_
