#include "mp/ipc/internal/shared_turn.h"

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"

namespace mp::internal {

absl::Status SharedTurn::Take(const Deadline& deadline) {
  while (true) {
    const absl::Status taken = word_.Acquire(deadline.Remaining());
    if (absl::IsDeadlineExceeded(taken)) {
      return absl::DeadlineExceededError(
          "another process was busy with this end of the connection all the "
          "time");
    }
    if (!absl::IsAborted(taken)) return taken;
    // Of those who find it abandoned one gets it. The others wait for that one.
    if (!word_.AcquireAbandoned().ok()) continue;
    if (state_.busy.load() != 0) {
      MarkCut(Cause::kDied, static_cast<pid_t>(state_.lock.dead & UINT32_MAX));
      state_.busy.store(0);
    }
    return word_.MarkRepaired();
  }
}

void SharedTurn::MarkCut(Cause cause, pid_t pid) {
  uint64_t none = 0;
  state_.cut.compare_exchange_strong(
      none, uint64_t{static_cast<uint32_t>(cause)} << 32 |
                static_cast<uint32_t>(pid));
}

SharedTurn::Cut SharedTurn::cut() const {
  const uint64_t cut = state_.cut.load(std::memory_order_acquire);
  // Another process may have written anything there.
  const auto cause = cut >> 32 == 0   ? Cause::kNone
                     : cut >> 32 == 1 ? Cause::kDied
                                      : Cause::kGaveUp;
  return {cause, static_cast<pid_t>(cut & UINT32_MAX)};
}

SharedTurn::Cut SharedTurn::Look() const {
  if (const Cut known = cut(); known.cause != Cause::kNone) return known;
  const uint32_t seen = state_.lock.word.load();
  if (state_.busy.load() == 0) return {};
  const MemberId owner = seen & LockWord::kOwner;
  const bool is_dead = (seen & LockWord::kAbandoned) != 0 ||
                       (owner != kNobody && members_.IsGone(owner));
  // It was so while nobody else had the turn.
  if (!is_dead || state_.lock.word.load() != seen) return {};
  return {Cause::kDied, owner == kNobody ? 0 : members_.PidOf(owner)};
}

}  // namespace mp::internal
