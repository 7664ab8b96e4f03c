#ifndef MP_SYNC_INTERNAL_BARRIER_CORE_H_
#define MP_SYNC_INTERNAL_BARRIER_CORE_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"

namespace mp::internal {

// The place of one party: its MemberId, the round that it last came to, and
// whether it is still there. 0 if nobody ever was.
using PartyCell = std::atomic<uint64_t>;

// The shared part of a barrier, without the cells of its parties. All zero is
// one of as many parties as cells follow.
//
// Shape: 64 bytes, so that those who look at the word do not meet those who
//        write cells. docs/sync_format.md says what each bit is.
struct alignas(64) BarrierCoreState {
  FutexWord word;
  // How many cells follow. 0 for as many as there is room for.
  uint32_t parties;
  // Why a round was broken, for the message: the round, the reason, a pid.
  std::atomic<uint64_t> cause;
  uint32_t unused[12];
};
static_assert(sizeof(BarrierCoreState) == 64);

// Where processes wait for each other, round after round.
//
// One comes by a store to a cell, and is there from then on. Whoever sees that
// all cells are taken in this round ends it, by a store to the word. One that
// has seen it end leaves its cell, and only then can another take that: so no
// round ends before all have left the one before.
//
// Owns:    nothing: all that it refers to outlives it.
// Threads: safe from any; each call of Wait() is a party.
// Death:   of a party that has come, or that was there in the round before and
//          has not come yet: the round is broken, within 50 ms. One that said
//          that it would end, Members::Leave(), is not missed.
// Source:  CPython threading.Barrier, for what it does where nobody dies.
class BarrierCore {
 public:
  using Action = absl::FunctionRef<absl::Status()>;

  // Why a round did not end as it should.
  enum class Cause : uint32_t {
    kUnknown,
    kDeath,
    kTimeout,
    kAbort,
    kAction,
  };

  BarrierCore(BarrierCoreState& state, absl::Span<PartyCell> cells,
              Members& members)
      : state_(state), cells_(cells), members_(members) {}

  // Waits until all parties are there. Returns which of them this one is. The
  // last one calls `action` before it lets the others go.
  //
  // Errors:
  //   kDeadlineExceeded    not in time; that breaks it for the others.
  //   kAborted             it is broken, or has been reset.
  //   kResourceExhausted   this process cannot become a member.
  //   those of `action`    which breaks it for the others.
  absl::StatusOr<int> Wait(std::optional<Action> action,
                           absl::Duration timeout);

  // Breaks it until Reset(), for those that are there and those that come.
  void Abort();

  // Makes it as new. Those that are there are told that it was broken.
  void Reset();

  bool IsBroken() const;
  int Parties() const { return static_cast<int>(cells_.size()); }
  int Waiting() const;

  // As in "Barrier(2 of 3 waiting)".
  std::string ToString() const;

 private:
  class Runner;

  // Takes a cell for `round`. Returns which; kNone if all are taken, kChanged
  // if that round is over.
  int Come(uint32_t round, MemberId self);
  int ComeAgain(uint32_t round, MemberId self);
  int ComeInPlaceOfAnother(uint32_t round, MemberId self);
  void Leave(int at, MemberId self, uint32_t round);
  bool AllAreThere(uint32_t round) const;

  absl::StatusOr<int> WaitAt(int at, uint32_t round,
                             std::optional<Action> action,
                             const Deadline& deadline);
  absl::Status Finish(uint32_t round, Action action);
  absl::Status AwaitEnd(uint32_t round, const Deadline& deadline);
  absl::Status SleepUntilEnd(uint32_t round, const Deadline& deadline);
  static absl::Status CheckPlaces(const Deadline& deadline);
  absl::Status AwaitPlace(uint32_t seen, const Deadline& deadline);
  absl::Status Outcome(uint32_t round, uint32_t seen) const;

  // Stores what follows `seen` and wakes those that sleep.
  bool Move(uint32_t seen, uint32_t next);
  bool EndRound(uint32_t round, uint32_t phase);
  void Break(uint32_t round, Cause cause, pid_t pid);
  bool BreakIfOneDied(uint32_t round);
  absl::Status Broken(uint32_t round) const;

  BarrierCoreState& state_;
  const absl::Span<PartyCell> cells_;
  Members& members_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_BARRIER_CORE_H_
