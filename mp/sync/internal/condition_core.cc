#include "mp/sync/internal/condition_core.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/futex_requeue.h"
#include "mp/sync/internal/lock_word.h"

namespace mp::internal {
namespace {

// How long one sleeps before it looks who lives.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

bool IsWaiting(uint32_t word) { return (word & ConditionCore::kWaiting) != 0; }
bool IsNotified(uint32_t word) {
  return (word & ConditionCore::kNotified) != 0;
}

bool BeganLater(const ConditionCell* a, const ConditionCell* b) {
  return a->began.load() > b->began.load();
}

}  // namespace

ConditionCore::ConditionCore(ConditionState& state,
                             absl::Span<ConditionCell> cells, Members& members,
                             LockWord& lock, const Members& lock_members)
    : state_(state),
      cells_(state.max_waiters == 0 ? cells
                                    : cells.subspan(0, state.max_waiters)),
      members_(members),
      lock_(lock),
      lock_members_(lock_members) {}

absl::Status ConditionCore::Wait(ReleasedLock& lock, const Deadline& deadline) {
  MP_ASSIGN_OR_RETURN(ConditionCell* const own, Enter());
  // As it holds the lock, nobody dies with it now.
  const uint64_t last_death = lock_.LastDeath();
  absl::Status status = lock.Release();
  if (status.ok()) {
    status = AwaitNotification(*own, lock, last_death, deadline);
  }
  if (status.ok() || absl::IsDeadlineExceeded(status)) {
    own->word.store(0);
  } else {
    LeaveWithoutLock(*own);
  }
  return status;
}

// Comes back with the lock, unless that is what the error is about.
absl::Status ConditionCore::AwaitNotification(ConditionCell& own,
                                              ReleasedLock& lock,
                                              uint64_t last_death,
                                              const Deadline& deadline) {
  while (true) {
    Sleep(own, last_death, deadline);
    MP_RETURN_IF_ERROR(lock.AcquireAfterSleep());
    if (IsNotified(own.word.load()) || TakeOver(own)) return absl::OkStatus();
    const bool is_told = lock_.LastDeath() != last_death;
    if (!is_told && deadline.Expired()) {
      return absl::DeadlineExceededError(
          "Condition::Wait: not notified before the deadline");
    }
    MP_RETURN_IF_ERROR(lock.Release());
    if (is_told) {
      return absl::AbortedError(absl::StrCat(
          "Condition::Wait: pid ", lock_.LastDeath() & UINT32_MAX,
          " ended while holding the lock, and may have been about to notify; "
          "the lock has been repaired since"));
    }
  }
}

// Returns a cell that says that this thread waits.
absl::StatusOr<ConditionCell*> ConditionCore::Enter() {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  ConditionCell* cell = Claim(self);
  if (cell != nullptr) return cell;
  Sweep();
  cell = Claim(self);
  if (cell != nullptr) return cell;
  return absl::ResourceExhaustedError(
      absl::StrCat("Condition::Wait: ", cells_.size(),
                   " wait already; max_waiters is ", cells_.size()));
}

ConditionCell* ConditionCore::Claim(MemberId self) {
  for (size_t i = 0; i < cells_.size(); ++i) {
    uint32_t free = cells_[i].word.load(std::memory_order_relaxed);
    if (free != 0) continue;
    CountAsUsed(static_cast<uint32_t>(i) + 1);
    cells_[i].began.store(state_.moment.fetch_add(1));
    if (cells_[i].word.compare_exchange_strong(free, self | kWaiting)) {
      return &cells_[i];
    }
  }
  return nullptr;
}

void ConditionCore::CountAsUsed(uint32_t used) {
  uint32_t seen = state_.used.load(std::memory_order_relaxed);
  while (seen < used && !state_.used.compare_exchange_weak(seen, used)) {
  }
}

// Returns when there may be a reason to have the lock.
void ConditionCore::Sleep(ConditionCell& own, uint64_t last_death,
                          const Deadline& deadline) const {
  const uint32_t waiting = members_.self() | kWaiting;
  Deadline slice(std::min(kSlice, deadline.Remaining()));
  while (own.word.load() == waiting) {
    // It may have been moved to the word of the lock, and be woken there.
    const FutexResult result = FutexWait(own.word, waiting, slice);
    if (result != FutexResult::kTimedOut && !slice.Expired()) continue;
    if (deadline.Expired() || IsLockDead()) return;
    if (lock_.LastDeath() != last_death) return;
    if (FindAdrift(own.began.load()) != nullptr) return;
    slice = Deadline(std::min(kSlice, deadline.Remaining()));
  }
}

// Whether who wants the lock now is told that its holder died, or gets it from
// a dead one.
bool ConditionCore::IsLockDead() const {
  const uint32_t seen = lock_.word().load();
  const MemberId holder = seen & LockWord::kOwner;
  if (holder == kNobody) return (seen & LockWord::kAbandoned) != 0;
  return holder != lock_members_.self() && lock_members_.IsGone(holder);
}

// A notification that arrived in the meantime is for another.
void ConditionCore::LeaveWithoutLock(ConditionCell& own) const {
  uint32_t seen = members_.self() | kWaiting;
  if (!own.word.compare_exchange_strong(seen, 0)) own.word.store(kNotified);
}

int ConditionCore::Notify(int count) {
  std::vector<ConditionCell*> waiting = Waiting();
  std::make_heap(waiting.begin(), waiting.end(), BeganLater);
  int told = 0;
  while (told < count && !waiting.empty()) {
    std::pop_heap(waiting.begin(), waiting.end(), BeganLater);
    if (Tell(*waiting.back())) ++told;
    waiting.pop_back();
  }
  return told;
}

// Notifies one, if it lives.
bool ConditionCore::Tell(ConditionCell& cell) {
  uint32_t word = cell.word.load();
  if (!IsWaiting(word)) return false;
  const MemberId waiter = word & kOwner;
  cell.notified.store(state_.moment.fetch_add(1));
  if (!cell.word.compare_exchange_strong(word, waiter | kNotified)) {
    return false;
  }
  word = waiter | kNotified;
  // It needs the lock: woken at once, it would run into it.
  if (FutexMoveOne(cell.word, word, lock_.word())) {
    lock_.ExpectSleeper();
    return true;
  }
  // It is awake, and will see it; or will never be again.
  if (waiter == members_.self() || !members_.IsGone(waiter)) return true;
  return !cell.word.compare_exchange_strong(word, 0);
}

int ConditionCore::CountWaiting() const {
  return static_cast<int>(std::count_if(
      used_cells().begin(), used_cells().end(),
      [](const ConditionCell& cell) { return IsWaiting(cell.word.load()); }));
}

// Whether a cell is a notification that its waiter will not take.
bool ConditionCore::IsAdrift(uint32_t word) const {
  if (!IsNotified(word)) return false;
  const MemberId waiter = word & kOwner;
  return waiter == kNobody ||
         (waiter != members_.self() && members_.IsGone(waiter));
}

// Returns the oldest notification adrift of those sent since then. Its like is
// for as many others as possible.
ConditionCell* ConditionCore::FindAdrift(uint64_t began) const {
  ConditionCell* oldest = nullptr;
  for (ConditionCell& cell : used_cells()) {
    const uint64_t notified = cell.notified.load();
    if (notified < began || !IsAdrift(cell.word.load())) continue;
    if (oldest == nullptr || notified < oldest->notified.load()) {
      oldest = &cell;
    }
  }
  return oldest;
}

bool ConditionCore::TakeOver(const ConditionCell& own) {
  while (ConditionCell* const cell = FindAdrift(own.began.load())) {
    uint32_t word = cell->word.load();
    if (IsAdrift(word) && cell->word.compare_exchange_strong(word, 0)) {
      return true;
    }
  }
  return false;
}

// Whether one that lives may yet take over a notification.
bool ConditionCore::IsAwaited(const ConditionCell& notification) const {
  const uint64_t notified = notification.notified.load();
  for (const ConditionCell& cell : used_cells()) {
    const uint32_t word = cell.word.load();
    if (IsWaiting(word) && cell.began.load() < notified &&
        !members_.IsGone(word & kOwner)) {
      return true;
    }
  }
  return false;
}

// Frees the cells of the dead.
void ConditionCore::Sweep() {
  for (ConditionCell& cell : used_cells()) {
    uint32_t word = cell.word.load();
    const bool is_dead = IsWaiting(word) ? members_.IsGone(word & kOwner)
                                         : IsAdrift(word) && !IsAwaited(cell);
    if (is_dead) cell.word.compare_exchange_strong(word, 0);
  }
}

absl::Span<ConditionCell> ConditionCore::used_cells() const {
  const size_t used = state_.used.load();
  return cells_.subspan(0, std::min(used, cells_.size()));
}

std::vector<ConditionCell*> ConditionCore::Waiting() const {
  std::vector<ConditionCell*> waiting;
  for (ConditionCell& cell : used_cells()) {
    if (IsWaiting(cell.word.load())) waiting.push_back(&cell);
  }
  return waiting;
}

}  // namespace mp::internal
