#include "mp/sync/internal/barrier_core.h"

#include <sched.h>

#include <algorithm>
#include <climits>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// How long one sleeps before it looks who lives: the first time, and later.
constexpr absl::Duration kPatience = absl::Milliseconds(2);
constexpr absl::Duration kSlice = absl::Milliseconds(50);

// How often one looks before it lets others run, and before it sleeps.
constexpr int kLooks = 20;
constexpr int kYields = 30;

// The word: 24 bits of the round, 5 bits of which of the last rounds were
// broken, the latest lowest, 2 bits of the phase, and whether some may sleep.
constexpr uint32_t kSleepers = 1;
constexpr uint32_t kPhase = 3 << 1;
constexpr uint32_t kOpen = 0 << 1;
constexpr uint32_t kInAction = 1 << 1;
constexpr uint32_t kBroken = 2 << 1;
constexpr int kHistoryShift = 3;
constexpr uint32_t kHistoryBits = 5;
constexpr uint32_t kHistoryMask = (1 << kHistoryBits) - 1;
constexpr int kRoundShift = kHistoryShift + kHistoryBits;
constexpr uint32_t kRoundMask = UINT32_MAX >> kRoundShift;

uint32_t RoundOf(uint32_t word) { return word >> kRoundShift; }
uint32_t HistoryOf(uint32_t word) {
  return word >> kHistoryShift & kHistoryMask;
}
uint32_t Rounds(uint32_t later, uint32_t earlier) {
  return (later - earlier) & kRoundMask;
}

// The word of a round that follows, `rounds` later.
uint32_t WordAfter(uint32_t word, uint32_t rounds, uint32_t broken) {
  const uint32_t round = (RoundOf(word) + rounds) & kRoundMask;
  const uint32_t history = (HistoryOf(word) << rounds | broken) & kHistoryMask;
  return round << kRoundShift | history << kHistoryShift | kOpen;
}

// A cell: the member above 30 bits of the round above 2 of the presence.
enum Presence : uint64_t { kNever, kThere, kLeft };

uint64_t CellOf(MemberId id, uint32_t round, Presence presence) {
  return uint64_t{id} << 32 | round << 2 | presence;
}
MemberId IdOf(uint64_t cell) { return static_cast<MemberId>(cell >> 32); }
uint32_t CellRound(uint64_t cell) {
  return static_cast<uint32_t>(cell) >> 2 & kRoundMask;
}
Presence PresenceOf(uint64_t cell) { return static_cast<Presence>(cell & 3); }

// Whether the parties of `round` need not wait any more.
bool IsOver(uint32_t round, uint32_t word) {
  return RoundOf(word) != round || (word & kPhase) == kBroken;
}

// Whether a cell was last used before `round`. If not, that is over.
bool IsBefore(uint64_t cell, uint32_t round) {
  const uint32_t rounds = Rounds(round, CellRound(cell));
  return rounds != 0 && rounds <= kRoundMask / 2;
}

// What Come() answers other than a cell.
constexpr int kNone = -1;
constexpr int kChanged = -2;

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

// Calls an action. If that does not return, because it throws, the barrier is
// broken.
class BarrierCore::Runner {
 public:
  Runner(BarrierCore& barrier, uint32_t round)
      : barrier_(barrier), round_(round) {}
  ~Runner() {
    if (!is_done_) barrier_.Break(round_, Cause::kAction, 0);
  }
  absl::Status Run(Action action) {
    const absl::Status status = action();
    is_done_ = status.ok();
    return status;
  }

 private:
  BarrierCore& barrier_;
  const uint32_t round_;
  bool is_done_ = false;
};

absl::StatusOr<int> BarrierCore::Wait(std::optional<Action> action,
                                      absl::Duration timeout) {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  const Deadline deadline(timeout);
  while (true) {
    const uint32_t seen = state_.word.load();
    const uint32_t round = RoundOf(seen);
    if ((seen & kPhase) == kBroken) return Broken(round);
    const int at = (seen & kPhase) == kInAction ? kNone : Come(round, self);
    if (at == kNone) {
      MP_RETURN_IF_ERROR(AwaitPlace(seen, deadline));
    } else if (at == kChanged) {
      // At once again; for ever only where a stranger has written the cells.
      MP_RETURN_IF_ERROR(CheckPlaces(deadline));
    } else {
      // Also if the action throws.
      const auto leave = absl::MakeCleanup([&] { Leave(at, self, round); });
      return WaitAt(at, round, action, deadline);
    }
  }
}

absl::StatusOr<int> BarrierCore::WaitAt(int at, uint32_t round,
                                        std::optional<Action> action,
                                        const Deadline& deadline) {
  bool is_over = false;
  if (AllAreThere(round)) {
    if (action.has_value()) {
      MP_RETURN_IF_ERROR(Finish(round, *action));
    } else {
      is_over = EndRound(round, kOpen);
    }
  }
  if (!is_over) MP_RETURN_IF_ERROR(AwaitEnd(round, deadline));
  return at;
}

// Runs the action if no other party does so, and ends the round.
absl::Status BarrierCore::Finish(uint32_t round, Action action) {
  uint32_t seen = state_.word.load();
  do {
    if (RoundOf(seen) != round || (seen & kPhase) != kOpen) {
      return absl::OkStatus();
    }
  } while (!state_.word.compare_exchange_weak(seen, seen | kInAction));
  MP_RETURN_IF_ERROR(Runner(*this, round).Run(action));
  EndRound(round, kInAction);
  return absl::OkStatus();
}

// Returns whether this call did it.
bool BarrierCore::EndRound(uint32_t round, uint32_t phase) {
  uint32_t seen = state_.word.load();
  while (RoundOf(seen) == round && (seen & kPhase) == phase) {
    if (Move(seen, WordAfter(seen, 1, 0))) return true;
    seen = state_.word.load();
  }
  return false;
}

bool BarrierCore::Move(uint32_t seen, uint32_t next) {
  if (!state_.word.compare_exchange_strong(seen, next)) return false;
  if ((seen & kSleepers) != 0) FutexWake(state_.word, INT_MAX);
  return true;
}

absl::Status BarrierCore::AwaitEnd(uint32_t round, const Deadline& deadline) {
  for (int i = 0; i < kLooks + kYields; ++i) {
    const uint32_t seen = state_.word.load();
    if (IsOver(round, seen)) return Outcome(round, seen);
    if (i < kLooks) {
      Pause();
    } else {
      sched_yield();
    }
  }
  return SleepUntilEnd(round, deadline);
}

absl::Status BarrierCore::SleepUntilEnd(uint32_t round,
                                        const Deadline& deadline) {
  Deadline next_look(kPatience);
  while (true) {
    uint32_t seen = state_.word.load();
    if (IsOver(round, seen)) return Outcome(round, seen);
    if (next_look.Expired()) {
      if (BreakIfOneDied(round)) continue;
      next_look = Deadline(kSlice);
    }
    if (deadline.Expired()) {
      Break(round, Cause::kTimeout, 0);
      if (RoundOf(state_.word.load()) != round) continue;
      return absl::DeadlineExceededError(
          "Barrier::Wait: not all were there before the deadline");
    }
    if ((seen & kSleepers) == 0 &&
        !state_.word.compare_exchange_weak(seen, seen | kSleepers)) {
      continue;
    }
    const bool ends_before = deadline.Remaining() < next_look.Remaining();
    FutexWait(state_.word, seen | kSleepers,
              ends_before ? deadline : next_look);
  }
}

absl::Status BarrierCore::CheckPlaces(const Deadline& deadline) {
  if (!deadline.Expired()) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "Barrier::Wait: others had all places until the deadline");
}

// Until one leaves the round before, which takes it a moment; or until the end
// of this round, if more than all parties want to be there.
absl::Status BarrierCore::AwaitPlace(uint32_t seen, const Deadline& deadline) {
  MP_RETURN_IF_ERROR(CheckPlaces(deadline));
  const absl::Duration moment = absl::Milliseconds(1);
  for (int i = 0; i < kYields; ++i) sched_yield();
  const FutexResult result = FutexWait(
      state_.word, seen, Deadline(std::min(moment, deadline.Remaining())));
  // All who are there may be dead, and then nobody else looks.
  if (result == FutexResult::kTimedOut) BreakIfOneDied(RoundOf(seen));
  return absl::OkStatus();
}

// What became of a round that is over.
absl::Status BarrierCore::Outcome(uint32_t round, uint32_t seen) const {
  const uint32_t rounds = Rounds(RoundOf(seen), round);
  if (rounds == 0) return Broken(round);
  const bool is_known = rounds <= kHistoryBits;
  if (is_known && (HistoryOf(seen) >> (rounds - 1) & 1) == 0) {
    return absl::OkStatus();
  }
  return absl::AbortedError("Barrier::Wait: it was reset meanwhile");
}

int BarrierCore::Come(uint32_t round, MemberId self) {
  const int at = ComeAgain(round, self);
  return at != kNone ? at : ComeInPlaceOfAnother(round, self);
}

// As long as a cell is of an earlier round, this one cannot have ended: so a
// store to it puts this process into `round`, not into one that is over.
int BarrierCore::ComeAgain(uint32_t round, MemberId self) {
  for (int at = 0; at < Parties(); ++at) {
    uint64_t cell = cells_[at].load();
    if (IdOf(cell) != self || PresenceOf(cell) != kLeft) continue;
    if (!IsBefore(cell, round)) return kChanged;
    if (cells_[at].compare_exchange_strong(cell, CellOf(self, round, kThere))) {
      return at;
    }
  }
  return kNone;
}

int BarrierCore::ComeInPlaceOfAnother(uint32_t round, MemberId self) {
  for (int at = 0; at < Parties(); ++at) {
    uint64_t cell = cells_[at].load();
    if (PresenceOf(cell) != kNever) {
      if (PresenceOf(cell) == kThere && CellRound(cell) == round) continue;
      if (!IsBefore(cell, round)) return kChanged;
      const Life life = members_.LifeOf(IdOf(cell));
      if (PresenceOf(cell) == kThere && life == Life::kAlive) continue;
      if (life == Life::kDead && Rounds(round, CellRound(cell)) == 1) {
        Break(round, Cause::kDeath, members_.PidOf(IdOf(cell)));
        return kChanged;
      }
    }
    if (cells_[at].compare_exchange_strong(cell, CellOf(self, round, kThere))) {
      return at;
    }
  }
  return kNone;
}

void BarrierCore::Leave(int at, MemberId self, uint32_t round) {
  cells_[at].store(CellOf(self, round, kLeft));
}

bool BarrierCore::AllAreThere(uint32_t round) const {
  return std::all_of(cells_.begin(), cells_.end(), [&](const PartyCell& party) {
    const uint64_t cell = party.load();
    return PresenceOf(cell) == kThere && CellRound(cell) == round;
  });
}

void BarrierCore::Break(uint32_t round, Cause cause, pid_t pid) {
  uint32_t seen = state_.word.load();
  while (RoundOf(seen) == round && (seen & kPhase) != kBroken) {
    // Before the store that others see; who dies in between has said why the
    // round may break, not that it has.
    state_.cause.store(uint64_t{static_cast<uint32_t>(pid)} << 32 | round << 8 |
                       static_cast<uint32_t>(cause));
    const uint32_t next = (seen & ~(kPhase | kSleepers)) | kBroken;
    if (Move(seen, next)) return;
    seen = state_.word.load();
  }
}

bool BarrierCore::BreakIfOneDied(uint32_t round) {
  for (const PartyCell& party : cells_) {
    const uint64_t cell = party.load();
    if (PresenceOf(cell) == kNever) continue;
    const uint32_t rounds = Rounds(round, CellRound(cell));
    const bool is_there = PresenceOf(cell) == kThere && rounds == 0;
    if (!is_there && rounds != 1) continue;
    const Life life = members_.LifeOf(IdOf(cell));
    if (life == Life::kDead || (is_there && life == Life::kLeft)) {
      Break(round, Cause::kDeath, members_.PidOf(IdOf(cell)));
      return true;
    }
  }
  return false;
}

absl::Status BarrierCore::Broken(uint32_t round) const {
  const uint64_t noted = state_.cause.load();
  std::string why = "it is broken";
  if ((static_cast<uint32_t>(noted) >> 8) == round) {
    switch (static_cast<Cause>(noted & 0xff)) {
      case Cause::kDeath:
        why = absl::StrCat("it is broken: pid ", noted >> 32, " ended");
        break;
      case Cause::kTimeout:
        why = "it is broken: one party waited until its deadline";
        break;
      case Cause::kAbort:
        why = "it is broken: Abort() was called";
        break;
      case Cause::kAction:
        why = "it is broken: the action failed";
        break;
      case Cause::kUnknown:
        break;
    }
  }
  return absl::AbortedError(absl::StrCat("Barrier::Wait: ", why, "; Reset()"));
}

void BarrierCore::Abort() {
  uint32_t seen = state_.word.load();
  while ((seen & kPhase) != kBroken) {
    Break(RoundOf(seen), Cause::kAbort, 0);
    seen = state_.word.load();
  }
}

// Skips a round: of those that died in this one nobody is missed in the next.
void BarrierCore::Reset() {
  uint32_t seen = state_.word.load();
  while (!Move(seen, WordAfter(seen, 2, 3))) seen = state_.word.load();
}

bool BarrierCore::IsBroken() const {
  return (state_.word.load() & kPhase) == kBroken;
}

int BarrierCore::Waiting() const {
  const uint32_t seen = state_.word.load();
  if ((seen & kPhase) == kBroken) return 0;
  return static_cast<int>(
      std::count_if(cells_.begin(), cells_.end(), [&](const PartyCell& party) {
        const uint64_t cell = party.load();
        return PresenceOf(cell) == kThere && CellRound(cell) == RoundOf(seen);
      }));
}

std::string BarrierCore::ToString() const {
  if (IsBroken()) return "Barrier(broken)";
  return absl::StrCat("Barrier(", Waiting(), " of ", Parties(), " waiting)");
}

}  // namespace mp::internal
