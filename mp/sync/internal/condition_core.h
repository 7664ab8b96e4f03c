#ifndef MP_SYNC_INTERNAL_CONDITION_CORE_H_
#define MP_SYNC_INTERNAL_CONDITION_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"
#include "mp/sync/internal/lock_word.h"

namespace mp {

// The shared part of a Condition, all zero for a fresh one: this, and an array
// of cells that follows it at once. Who places one in memory of its own uses
// ConditionStateOf.
//
// Shape: 16 bytes. docs/sync_format.md says what each word is.
struct ConditionState {
  // Counts waits and notifications: which of them came first.
  std::atomic<uint64_t> moment;
  // No cell from this one on was ever used.
  std::atomic<uint32_t> used;
  // How many may wait at a time; 0 for as many as there are cells.
  uint32_t max_waiters;
};
static_assert(sizeof(ConditionState) == 16);

// One that waits, or a notification that nobody has taken yet.
//
// Shape: 24 bytes.
struct ConditionCell {
  // 0, or who waits under kWaiting or kNotified.
  FutexWord word;
  uint32_t unused;
  // The moments when it began to wait, and when it was notified.
  std::atomic<uint64_t> began;
  std::atomic<uint64_t> notified;
};
static_assert(sizeof(ConditionCell) == 24);

namespace internal {

// How one that waits lets go of its lock, and has it again.
class ReleasedLock {
 public:
  ReleasedLock() = default;
  ReleasedLock(const ReleasedLock&) = delete;
  ReleasedLock& operator=(const ReleasedLock&) = delete;
  virtual ~ReleasedLock() = default;

  virtual absl::Status Release() = 0;
  // Waits for it as long as it takes.
  virtual absl::Status AcquireAfterSleep() = 0;
};

class ReleasedLockWord : public ReleasedLock {
 public:
  explicit ReleasedLockWord(LockWord& word) : word_(word) {}
  absl::Status Release() override { return word_.Release(); }
  absl::Status AcquireAfterSleep() override {
    return word_.AcquireAfterSleep(Deadline(absl::InfiniteDuration()));
  }

 private:
  LockWord& word_;
};

// What a Condition does with its state and the word of its lock.
//
// Example:
//   LockWord word(lock_state, members, "Lock");
//   ConditionCore condition(state, cells, members, word, members);
//   ReleasedLockWord lock(word);
//   MP_RETURN_IF_ERROR(word.Acquire(timeout));
//   while (!ready) MP_RETURN_IF_ERROR(condition.Wait(lock, Deadline(timeout)));
//
// All that is done to cells is done by the holder of the lock, except leaving
// one without it. So several stores may belong together, as long as what those
// before the last one leave behind does not matter: each step below becomes
// true by one store to the word of a cell.
//
// A notification is a cell that says kNotified, and is one until its waiter has
// the lock again. If the waiter dies before that, or cannot have the lock, it
// is adrift, and one that was already waiting when it was sent takes it over.
//
// Owns:    nothing: all that it refers to outlives it.
// Threads: safe from any. A cell belongs to the thread that waits.
// Death:   of a waiter: its cell is used again. Of one that was notified: see
//          above, within 50 ms. Of the one that notifies: some have been
//          notified, and others not. Of whoever holds the lock: those that wait
//          are told within 50 ms, as it may have been about to notify them;
//          also if the lock has been repaired by then.
class ConditionCore {
 public:
  static constexpr uint32_t kNotified = uint32_t{1} << 31;
  static constexpr uint32_t kWaiting = uint32_t{1} << 30;
  static constexpr uint32_t kOwner = kMemberIdMask;

  // `cells` are those that follow `state`. The lock may have members of its
  // own.
  ConditionCore(ConditionState& state, absl::Span<ConditionCell> cells,
                Members& members, LockWord& lock, const Members& lock_members);

  // Releases the lock, waits for a notification and acquires the lock again.
  // For the holder.
  //
  // Errors:
  //   kDeadlineExceeded   none came in time. The lock is held.
  //   kAborted            a holder of the lock died since. The lock is not
  //                       held, and may have been repaired already.
  //   kResourceExhausted  as many wait as may. The lock was not released.
  // With an error no notification has been taken.
  absl::Status Wait(ReleasedLock& lock, const Deadline& deadline);

  // Notifies up to `count` of those that wait, who have waited longest. Returns
  // how many. For the holder of the lock.
  int Notify(int count);

  // How many wait and have not been notified, a moment ago.
  int CountWaiting() const;

 private:
  absl::Status AwaitNotification(ConditionCell& own, ReleasedLock& lock,
                                 uint64_t last_death, const Deadline& deadline);
  absl::StatusOr<ConditionCell*> Enter();
  ConditionCell* Claim(MemberId self);
  void CountAsUsed(uint32_t used);
  void Sleep(ConditionCell& own, uint64_t last_death,
             const Deadline& deadline) const;
  bool IsLockDead() const;
  void LeaveWithoutLock(ConditionCell& own) const;
  bool Tell(ConditionCell& cell);

  bool IsAdrift(uint32_t word) const;
  ConditionCell* FindAdrift(uint64_t began) const;
  bool TakeOver(const ConditionCell& own);
  bool IsAwaited(const ConditionCell& notification) const;
  void Sweep();

  absl::Span<ConditionCell> used_cells() const;
  std::vector<ConditionCell*> Waiting() const;

  ConditionState& state_;
  const absl::Span<ConditionCell> cells_;
  Members& members_;
  LockWord& lock_;
  const Members& lock_members_;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_SYNC_INTERNAL_CONDITION_CORE_H_
