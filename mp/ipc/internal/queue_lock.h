#ifndef MP_IPC_INTERNAL_QUEUE_LOCK_H_
#define MP_IPC_INTERNAL_QUEUE_LOCK_H_

#include <atomic>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"
#include "mp/sync/internal/lock_word.h"

namespace mp::internal {

// A lock that is held for a moment: whoever finds it taken looks again before
// it sleeps, and whoever gets that of a dead holder repairs what that one left.
//
// Example:
//   MP_RETURN_IF_ERROR(lock.Acquire(deadline, [&] { Repair(); }));
//   ...
//   lock.Release();
//
// Owns:    nothing, as LockWord.
// Threads: safe from any.
class QueueLock {
 public:
  QueueLock(LockWordState& state, Members& members, absl::string_view name)
      : word_(state.word), members_(members), lock_(state, members, name) {}

  // At once, or not.
  bool TryAcquire() {
    uint32_t free = 0;
    const MemberId self = members_.self();
    return self != kNobody && word_.compare_exchange_strong(free, self);
  }

  // Waits until it is this process's; for a quarter of a second at least, since
  // who only tries does not mean to stand back for one in the middle of a call.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kResourceExhausted   this process cannot become a member.
  absl::Status Acquire(const Deadline& deadline,
                       absl::FunctionRef<void()> repair) {
    if (TryAcquire()) [[likely]]
      return absl::OkStatus();
    return AcquireSlowly(deadline, repair);
  }

  // An atomic read-modify-write, for FenceBeforeWake().
  void Release() {
    uint32_t self = members_.self();
    if (!word_.compare_exchange_strong(self, 0)) [[unlikely]]
      ReleaseSlowly();
  }

  // By a process, this one or another, that may be dead.
  bool IsTaken() const { return lock_.IsTaken(); }
  bool IsOwn() const { return lock_.IsOwn(); }

 private:
  bool LookForAMoment();
  absl::Status AcquireSlowly(const Deadline& deadline,
                             absl::FunctionRef<void()> repair);
  void ReleaseSlowly();

  FutexWord& word_;
  Members& members_;
  LockWord lock_;
};

// Releases a lock that was acquired, at the end of a scope.
class QueueLockHolder {
 public:
  explicit QueueLockHolder(QueueLock& lock) : lock_(&lock) {}
  ~QueueLockHolder() { Release(); }
  QueueLockHolder(const QueueLockHolder&) = delete;
  QueueLockHolder& operator=(const QueueLockHolder&) = delete;

  void Release() {
    if (lock_ != nullptr) std::exchange(lock_, nullptr)->Release();
  }
  // Has it stay acquired.
  void Keep() { lock_ = nullptr; }

 private:
  QueueLock* lock_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_LOCK_H_
