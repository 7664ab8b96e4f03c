#ifndef MP_SYNC_LOCK_H_
#define MP_SYNC_LOCK_H_

#include <sys/types.h>

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

namespace mp {

struct LockOptions {
  // What becomes of it when a process ends while it holds it. kIgnore is for
  // what cannot be half done, such as lines of a log.
  OnOwnerDeath on_owner_death = OnOwnerDeath::kReport;
};

// The part of a Lock that processes share. All zero is a free one.
//
// Shape: 16 bytes, laid out as in docs/sync_format.md.
struct LockState {
  // For one who makes it, before others see it; zero has the defaults.
  void SetOptions(const LockOptions& options) {
    word.on_owner_death = options.on_owner_death;
  }

  internal::LockWordState word;
};
static_assert(sizeof(LockState) == 16 && std::is_standard_layout_v<LockState>);

// A lock between processes, which tells of the death of its holder.
//
// Example:
//   absl::Status Add(mp::Lock lock, mp::RawValue<int> total) {
//     MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(lock));
//     ++*total;
//     return absl::OkStatus();
//   }
//   MP_ASSIGN_OR_RETURN(mp::Lock lock, mp::Lock::Create());
//   mp::Process p(Add, lock, total);
//
// If a process ends while it holds the lock, what the lock guards may be half
// done. So nobody gets the lock any more: each Acquire() answers kAborted,
// until one process sets things right:
//
//   absl::Status taken = lock.Acquire();
//   if (absl::IsAborted(taken)) {
//     taken = lock.AcquireAbandoned();  // of several, one gets it; for
//     MP_RETURN_IF_ERROR(taken);        // the others, Acquire() waits
//     Repair();
//     MP_RETURN_IF_ERROR(lock.MarkRepaired());  // held as ever
//   }
//
// It is not recursive, and not fair: whoever comes first gets it; but those
// that have waited for 2 ms come before those that come later.
//
// Shape:   a handle. What is shared are 16 bytes in a slot of an arena, or
//          wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only tries.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any. The process holds it: another thread may release it.
// Fork:    travels to any process, as an argument or in a message. A child that
//          is forked by the program itself has its parent's handles, and does
//          not hold the lock.
// Death:   as above; noticed within 50 ms. A stopped holder is not dead, nor one
//          whose core is being written. One that drops its last handle of all
//          that lies in the arena, while it holds the lock, counts as dead.
// Source:  CPython multiprocessing.Lock. Differs: deadlines are on the
//          monotonic clock; a dead holder is told of. Any process may release
//          it, as there.
class Lock {
 public:
  using Options = LockOptions;

  // An empty handle, of which every use is kFailedPrecondition.
  Lock() = default;

  // Makes a free one, in this process's default arena.
  //
  // Errors:
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<Lock> Create(const Options& options = {});

  // One in memory that the program itself shares, which outlives the handle.
  // `arena` is one that all who use it share. It does not travel by itself.
  //
  // Example:
  //   struct Ledger { mp::LockState lock; int64_t sum; };  // zero is free
  //   auto* ledger = static_cast<Ledger*>(mmap(..., MAP_SHARED, ...));
  //   MP_ASSIGN_OR_RETURN(Arena arena, Arena::Default());  // before the fork
  //   if (fork() == 0) {
  //     MP_ASSIGN_OR_RETURN(Lock lock, Lock::At(&ledger->lock, arena));
  //     MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(lock));
  //     ++ledger->sum;
  //     ...
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  static absl::StatusOr<Lock> At(LockState* state, const Arena& arena);

  // Waits until it is this process's.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kAborted             a process ended while it held it; it is not held.
  //   kFailedPrecondition  the handle is empty, or at this process's first use
  //                        there is no /proc.
  //   kResourceExhausted   4096 processes share the arena, or there are no
  //                        descriptors left for this one to become one of them.
  // Source: CPython Lock.acquire(block, timeout).
  absl::Status Acquire(absl::Duration timeout = absl::InfiniteDuration()) {
    if (!placed_) return placed_.Nothing("Lock::Acquire");
    return Word().Acquire(timeout);
  }

  // Gives it back, whoever holds it.
  //
  // Errors:
  //   kFailedPrecondition  nobody holds it.
  //   kAborted             the one that holds it has ended.
  // Source: CPython Lock.release().
  absl::Status Release() {
    if (!placed_) return placed_.Nothing("Lock::Release");
    return Word().Release();
  }

  // The same, but only if this process holds it. What LockGuard does: a lock
  // that it has lost, in a Condition::Wait() that answered kAborted or because
  // another released it, may be somebody else's by now.
  //
  // Errors:
  //   kFailedPrecondition  this process does not hold it.
  absl::Status ReleaseOwn();

  // Takes it after the death of its holder, to repair what it guards. Until
  // MarkRepaired() it is abandoned again when this process releases it or ends.
  //
  // Errors:
  //   kFailedPrecondition  it is not abandoned, or another has taken it so.
  absl::Status AcquireAbandoned();

  // Says that what it guards is whole. It is still held.
  //
  // Errors:
  //   kFailedPrecondition  this process has not got it by AcquireAbandoned().
  absl::Status MarkRepaired();

  // Whether anybody holds it, or held it and died.
  //
  // Source: CPython 3.14 Lock.locked().
  bool Locked() const { return placed_ && Word().IsTaken(); }

  // The pid of the process that holds it, in its own pid namespace. 0 if nobody
  // does.
  pid_t owner_pid() const { return placed_ ? Word().OwnerPid() : 0; }

  // As in "Lock(held by pid 4711)".
  std::string ToString() const;

  // As std::mutex, for std::scoped_lock and std::unique_lock. What these cannot
  // say, that the holder has died for one, ends the process with a message.
  void lock() { MP_CHECK_OK(Acquire()); }
  void unlock() { MP_CHECK_OK(ReleaseOwn()); }
  bool try_lock();

  // Whether both are handles of the same lock.
  friend bool operator==(const Lock&, const Lock&) = default;

  // For what mp makes of locks.
  explicit Lock(internal::Placed<LockState> placed)
      : placed_(std::move(placed)) {}
  const internal::Placed<LockState>& placed() const { return placed_; }

 private:
  internal::LockWord Word() const {
    return internal::LockWord(placed_->word, placed_.members(), "Lock");
  }

  internal::Placed<LockState> placed_;
};

// Holds a Lock for a scope: LockGuard::Take(lock, timeout).
using LockGuard = internal::Guard<Lock, &Lock::Acquire, &Lock::ReleaseOwn>;

template <>
struct Serializer<Lock> {
  static void Encode(const Lock& lock, Encoder& encoder) {
    lock.placed().Encode(encoder, "Lock");
  }
  static absl::StatusOr<Lock> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed,
                        internal::Placed<LockState>::Decode(decoder));
    return Lock(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_LOCK_H_
