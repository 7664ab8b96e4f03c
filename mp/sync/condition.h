#ifndef MP_SYNC_CONDITION_H_
#define MP_SYNC_CONDITION_H_

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/arena.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/guard.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"

namespace mp {

struct ConditionOptions {
  // How many may wait at a time, those included that were notified and do not
  // have the lock yet: 1 to Condition::kMaxWaiters. Each takes 24 bytes.
  int max_waiters = 256;
};

// The part of a Condition that processes share, with room for so many that
// wait. All zero is a fresh one.
//
// Shape: 16 bytes and 24 for each, laid out as in docs/sync_format.md.
template <int kMaxWaiters = 256>
struct ConditionStateOf {
  static_assert(kMaxWaiters > 0);

  ConditionState state;
  ConditionCell cells[kMaxWaiters];
};
static_assert(sizeof(ConditionStateOf<2>) == 64 &&
              std::is_standard_layout_v<ConditionStateOf<2>>);

// Where processes wait until another one has changed what a lock guards.
//
// Example:
//   absl::Status Take(mp::Condition& changed, Stock& stock) {
//     MP_ASSIGN_OR_RETURN(auto guard, ConditionGuard::Take(changed));
//     MP_RETURN_IF_ERROR(changed.WaitFor([&] { return stock.count > 0; }));
//     --stock.count;
//     return absl::OkStatus();
//   }
//   absl::Status Add(mp::Condition& changed, Stock& stock) {
//     MP_ASSIGN_OR_RETURN(auto guard, ConditionGuard::Take(changed));
//     ++stock.count;
//     return changed.Notify();
//   }
//
// It goes with a Lock or an RLock, by default an RLock of its own, which is
// acquired and released through it as well. A notification ends the wait of
// one, not sooner and not for another: the one that has waited longest. That
// one has the lock again when Wait() comes back, so what it waited for may have
// been changed by a third; WaitFor() looks again.
//
// Shape:   a handle. What is shared are 6 KiB in a slot of an arena, or less
//          or more, see Options; or wherever At() says. And the lock.
// Units:   an infinite timeout waits, a zero or negative one does not; either
//          way the lock is released meanwhile, and then awaited for as long as
//          it takes. Signals do not end a wait.
// Owns:    a count of the slot, and a handle of the lock.
// Threads: safe from any. Each that waits is one of max_waiters.
// Fork:    travels to any process, as an argument or in a message.
// Death:   Notify() and NotifyAll() wait for nobody. Of the notifications sent,
//          none is for one that was dead; and one whose receiver dies before
//          it has the lock goes to another that was waiting when it was sent,
//          within 50 ms. When a process dies holding the lock, it may have been
//          about to notify: so all that wait are told, as by Acquire(), within
//          50 ms, and do not hold the lock; unless its death is ignored. Also
//          if another has repaired what the lock guards by then, and then
//          AcquireAbandoned() says kFailedPrecondition and Acquire() goes on.
// Source:  CPython multiprocessing.Condition. Differs: notify() waits there
//          until each has woken up, and so for ever for one that died.
class Condition {
 public:
  using Options = ConditionOptions;

  static constexpr int kMaxWaiters =
      (Arena::kMaxSlotBytes - sizeof(ConditionState)) / sizeof(ConditionCell);

  // An empty handle, of which every use is kFailedPrecondition.
  Condition() = default;

  // Makes one with an RLock of its own, in this process's default arena.
  //
  // Errors:
  //   kInvalidArgument    max_waiters.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<Condition> Create(const Options& options = {});

  // Makes one that goes with this lock. Several may.
  //
  // Errors: the same.
  static absl::StatusOr<Condition> Create(Lock lock,
                                          const Options& options = {});
  static absl::StatusOr<Condition> Create(RLock lock,
                                          const Options& options = {});

  // One in memory that the program itself shares, which outlives the handle.
  // All who use it do so with the same lock, and share `arena`. It does not
  // travel by itself.
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  template <int kWaiters>
  static absl::StatusOr<Condition> At(ConditionStateOf<kWaiters>* state,
                                      Lock lock, const Arena& arena) {
    return At(state == nullptr ? nullptr : &state->state, sizeof(*state),
              std::move(lock), arena);
  }
  template <int kWaiters>
  static absl::StatusOr<Condition> At(ConditionStateOf<kWaiters>* state,
                                      RLock lock, const Arena& arena) {
    return At(state == nullptr ? nullptr : &state->state, sizeof(*state),
              std::move(lock), arena);
  }

  // Acquires the lock: Lock::Acquire() or RLock::Acquire().
  absl::Status Acquire(absl::Duration timeout = absl::InfiniteDuration());

  // Releases the lock.
  //
  // Errors:
  //   kFailedPrecondition  this process does not hold it; for an RLock, this
  //                        thread. Who wants to release a Lock for another
  //                        does so by the Lock itself.
  absl::Status Release();

  // As of the lock: Lock::AcquireAbandoned() or RLock::AcquireAbandoned().
  absl::Status AcquireAbandoned();
  absl::Status MarkRepaired();

  // Releases the lock, however often it is held, waits for a notification and
  // acquires the lock again as often. For one that holds it.
  //
  // Errors, with which no notification was taken:
  //   kDeadlineExceeded    none came in time. The lock is held.
  //   kAborted             a process ended while it held the lock, which is NOT
  //                        held by this one now, and may be repaired already.
  //   kFailedPrecondition  the lock is not held by this process; for an RLock,
  //                        by this thread.
  //   kResourceExhausted   max_waiters wait already. The lock is held.
  // Source: CPython Condition.wait(timeout).
  absl::Status Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Waits until `predicate`, which is called with the lock held, says so.
  //
  // Errors:
  //   kDeadlineExceeded  it did not in time.
  //   and the others of Wait().
  // Source: CPython Condition.wait_for(predicate, timeout).
  absl::Status WaitFor(absl::FunctionRef<bool()> predicate,
                       absl::Duration timeout = absl::InfiniteDuration());

  // Ends the waits of up to `count` of those that wait. They go on when the
  // lock is released.
  //
  // Errors:
  //   kFailedPrecondition  the lock is not held, as for Wait().
  //   kInvalidArgument     `count` is negative.
  // Source: CPython Condition.notify(n).
  absl::Status Notify(int count = 1);

  // Ends the waits of all.
  //
  // Errors:
  //   kFailedPrecondition  the lock is not held, as for Wait().
  // Source: CPython Condition.notify_all().
  absl::Status NotifyAll();

  // How many wait and have not been notified, a moment ago.
  int waiting() const;

  // As in "Condition(RLock(free), 2 waiting)".
  std::string ToString() const;

  // As std::mutex, for std::scoped_lock; see Lock::lock(). A std::unique_lock
  // around a Wait() that answers kAborted ends the process; ConditionGuard
  // does not.
  void lock() { MP_CHECK_OK(Acquire()); }
  void unlock() { MP_CHECK_OK(Release()); }
  bool try_lock();

  // Whether both are handles of the same condition.
  friend bool operator==(const Condition& a, const Condition& b) {
    return a.placed_ == b.placed_;
  }

 private:
  friend struct Serializer<Condition>;

  using AnyLock = std::variant<RLock, Lock>;

  Condition(internal::Placed<ConditionState> placed, AnyLock lock)
      : placed_(std::move(placed)), lock_(std::move(lock)) {}

  static absl::StatusOr<Condition> CreateWith(AnyLock lock,
                                              const Options& options);
  static absl::StatusOr<Condition> At(ConditionState* state, size_t size_bytes,
                                      AnyLock lock, const Arena& arena);

  internal::ConditionCore Core(internal::LockWord& word,
                               const Members& lock_members) const;
  bool HoldsLock() const;
  absl::Status CheckHolds(absl::string_view operation) const;
  absl::Status WaitUntil(const Deadline& deadline);

  internal::Placed<ConditionState> placed_;
  AnyLock lock_;
};

// Holds the lock of a Condition for a scope: ConditionGuard::Take(condition).
// If a Wait() in it has lost the lock, it releases none.
using ConditionGuard = internal::Guard<Condition>;

template <>
struct Serializer<Condition> {
  static void Encode(const Condition& condition, Encoder& encoder);
  static absl::StatusOr<Condition> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_SYNC_CONDITION_H_
