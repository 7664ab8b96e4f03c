#ifndef MP_SYNC_RLOCK_H_
#define MP_SYNC_RLOCK_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/guard.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/internal/rlock_core.h"

namespace mp {

struct RLockOptions {
  // What becomes of it when a process ends while it holds it; see LockOptions.
  OnOwnerDeath on_owner_death = OnOwnerDeath::kReport;
};

// The part of an RLock that processes share. All zero is a free one.
//
// Shape: 32 bytes, laid out as in docs/sync_format.md.
struct RLockState {
  // For one who makes it, before others see it; zero has the defaults.
  void SetOptions(const RLockOptions& options) {
    core.lock.on_owner_death = options.on_owner_death;
  }

  internal::RLockCoreState core;
};
static_assert(sizeof(RLockState) == 32 &&
              std::is_standard_layout_v<RLockState>);

// A lock between processes that the thread which holds it can take again, and
// releases as often.
//
// Example:
//   absl::Status Deposit(mp::RLock& lock, Account& account, int amount) {
//     MP_ASSIGN_OR_RETURN(RLockGuard guard, RLockGuard::Take(lock));
//     MP_RETURN_IF_ERROR(Check(lock, account));  // takes it as well
//     ...
//   }
//
// Shape:   a handle. What is shared are 32 bytes in a slot of an arena, or
//          wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only tries.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any; a thread holds it, and only that one can release it.
// Fork:    travels to any process, as an argument or in a message. A forked
//          child does not hold what its parent does.
// Death:   the end of a process that holds it is answered as by a Lock, and the
//          way out is the same. The end of a thread is not noticed.
// Source:  CPython multiprocessing.RLock. Differs: as Lock does.
class RLock {
 public:
  using Options = RLockOptions;

  // An empty handle, of which every use is kFailedPrecondition.
  RLock() = default;

  // Makes a free one, in this process's default arena.
  //
  // Errors:
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<RLock> Create(const Options& options = {});

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  static absl::StatusOr<RLock> At(RLockState* state, const Arena& arena);

  // Waits until it is this thread's; at once, if it is already.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kAborted             a process ended while it held it; it is not held.
  //   kResourceExhausted   4096 processes share the arena, there are no
  //                        descriptors left, or it was taken 2^32 - 1 times.
  // Source: CPython RLock.acquire(block, timeout).
  absl::Status Acquire(absl::Duration timeout = absl::InfiniteDuration()) {
    if (!placed_) return placed_.Nothing("RLock::Acquire");
    return Core().Acquire(timeout);
  }

  // Takes back one Acquire().
  //
  // Errors:
  //   kFailedPrecondition  this thread does not hold it.
  // Source: CPython RLock.release(), which raises AssertionError.
  absl::Status Release() {
    if (!placed_) return placed_.Nothing("RLock::Release");
    return Core().Release();
  }

  // See Lock::AcquireAbandoned().
  //
  // Errors:
  //   kFailedPrecondition  it is not abandoned, or another has taken it so.
  absl::Status AcquireAbandoned();

  // See Lock::MarkRepaired().
  //
  // Errors:
  //   kFailedPrecondition  this thread has not got it by AcquireAbandoned().
  absl::Status MarkRepaired();

  // Whether anybody holds it, or held it and died.
  //
  // Source: CPython 3.14 RLock.locked().
  bool Locked() const { return placed_ && Core().word().IsTaken(); }

  // How often this thread has taken it.
  uint32_t depth() const { return placed_ ? Core().OwnDepth() : 0; }

  // The pid of the process that holds it, in its own pid namespace. 0 if nobody
  // does.
  pid_t owner_pid() const { return placed_ ? Core().word().OwnerPid() : 0; }

  // As in "RLock(held by this thread, 2 times)".
  std::string ToString() const;

  // As std::recursive_mutex; see Lock::lock().
  void lock() { MP_CHECK_OK(Acquire()); }
  void unlock() { MP_CHECK_OK(Release()); }
  bool try_lock();

  // Whether both are handles of the same lock.
  friend bool operator==(const RLock&, const RLock&) = default;

  // For what mp makes of locks.
  explicit RLock(internal::Placed<RLockState> placed)
      : placed_(std::move(placed)) {}
  const internal::Placed<RLockState>& placed() const { return placed_; }

 private:
  internal::RLockCore Core() const {
    return internal::RLockCore(placed_->core, placed_.members(), "RLock");
  }

  internal::Placed<RLockState> placed_;
};

// Holds an RLock for a scope: RLockGuard::Take(lock, timeout).
using RLockGuard = internal::Guard<RLock>;

template <>
struct Serializer<RLock> {
  static void Encode(const RLock& lock, Encoder& encoder) {
    lock.placed().Encode(encoder, "RLock");
  }
  static absl::StatusOr<RLock> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed,
                        internal::Placed<RLockState>::Decode(decoder));
    return RLock(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_RLOCK_H_
