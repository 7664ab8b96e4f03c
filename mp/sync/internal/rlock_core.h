#ifndef MP_SYNC_INTERNAL_RLOCK_CORE_H_
#define MP_SYNC_INTERNAL_RLOCK_CORE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/thread_token.h"

namespace mp::internal {

// The shared part of a recursive lock, all zero for a free one.
//
// Shape: 32 bytes. `thread` and `depth` mean something only to the process that
// holds `lock`, so they need no repair when it dies.
struct RLockCoreState {
  LockWordState lock;
  std::atomic<uint64_t> thread;
  std::atomic<uint32_t> depth;
  uint32_t unused;
};
static_assert(sizeof(RLockCoreState) == 32);

// A lock that its thread can take again. See LockWord, which it is made of.
//
// Owns:    nothing: `state` and `members` outlive it.
// Threads: safe from any; one thread of one process holds it.
class RLockCore {
 public:
  // `name` is what messages call it.
  RLockCore(RLockCoreState& state, Members& members, absl::string_view name)
      : state_(state), word_(state.lock, members, name) {}

  // Errors: those of LockWord::Acquire(), and
  //   kResourceExhausted  taken 2^32 - 1 times.
  absl::Status Acquire(absl::Duration timeout) {
    if (IsOwn()) return AcquireAgain();
    MP_RETURN_IF_ERROR(word_.Acquire(timeout));
    Begin(1);
    return absl::OkStatus();
  }

  // Errors:
  //   kFailedPrecondition  this thread does not hold it.
  absl::Status Release() {
    if (!IsOwn()) return NotOwner("Release");
    const uint32_t depth = Depth() - 1;
    state_.depth.store(depth, std::memory_order_relaxed);
    if (depth > 0) return absl::OkStatus();
    return End();
  }

  // Releases it as often as it was taken, which `depth` is then, and takes it
  // as often again. For the one who holds it, and waits meanwhile for something
  // else: it was woken, and does not know who else sleeps.
  absl::Status ReleaseAll(uint32_t& depth) {
    if (!IsOwn()) return NotOwner("Release");
    depth = Depth();
    return End();
  }
  absl::Status AcquireAfterSleep(const Deadline& deadline, uint32_t depth) {
    MP_RETURN_IF_ERROR(word_.AcquireAfterSleep(deadline));
    Begin(depth);
    return absl::OkStatus();
  }

  // As of LockWord.
  absl::Status AcquireAbandoned() {
    MP_RETURN_IF_ERROR(word_.AcquireAbandoned());
    Begin(1);
    return absl::OkStatus();
  }
  absl::Status MarkRepaired() {
    return IsOwn() ? word_.MarkRepaired() : NotOwner("MarkRepaired");
  }

  // Whether this thread holds it.
  bool IsOwn() const {
    return word_.IsOwn() &&
           state_.thread.load(std::memory_order_relaxed) == ThreadToken();
  }

  // How often this thread has taken it.
  uint32_t OwnDepth() const { return IsOwn() ? Depth() : 0; }

  // The lock itself, for one who looks at it.
  LockWord& word() { return word_; }
  const LockWord& word() const { return word_; }

  // Who holds it, as in "RLock(held by this thread, 2 times)".
  std::string ToString() const;

 private:
  uint32_t Depth() const {
    return state_.depth.load(std::memory_order_relaxed);
  }

  void Begin(uint32_t depth) {
    state_.depth.store(depth, std::memory_order_relaxed);
    state_.thread.store(ThreadToken(), std::memory_order_relaxed);
  }

  // Before the release: another thread of this process is not to take the lock
  // while it is still said to be this one's.
  absl::Status End() {
    state_.thread.store(0, std::memory_order_relaxed);
    return word_.Release();
  }

  absl::Status AcquireAgain();
  absl::Status NotOwner(absl::string_view operation) const;

  RLockCoreState& state_;
  LockWord word_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_RLOCK_CORE_H_
