#ifndef MP_SYNC_INTERNAL_SEMAPHORE_CORE_H_
#define MP_SYNC_INTERNAL_SEMAPHORE_CORE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"

namespace mp {

// What becomes of the units of a semaphore whose holder ended without giving
// them back.
enum class OnHolderDeath : uint32_t {
  kKeep,      // they are gone, as they may never have been meant to come back
  kGiveBack,  // others get them
};

namespace internal {

// Where one unit of a semaphore is: 0 if it is free, the MemberId of the
// process that holds it, or kAnonymous if nobody says who holds it.
using UnitCell = std::atomic<uint32_t>;

// The shared part of a semaphore, without the cells of its units. All zero is
// one of as many free units as cells follow.
//
// Shape: 32 bytes. docs/sync_format.md says what each word is.
struct SemaphoreCoreState {
  // Bit 0: somebody may sleep. Above: how often that was taken back.
  FutexWord sleepers;
  // Units that are free and have no cell.
  std::atomic<uint32_t> spare;
  // The cell that was used last. Only saves a search.
  std::atomic<uint32_t> hint;
  // How many cells follow, and 1. 0 for as many as there is room for.
  uint32_t cells_and_one;
  OnHolderDeath on_holder_death;
  uint32_t unused[3];
};
static_assert(sizeof(SemaphoreCoreState) == 32);

// A number of units to be acquired and released. To take one is one store, to
// the cell that it lies in, and so is to give it back: a process that is killed
// in between is somebody who holds a unit or does not.
//
// Owns:    nothing: all that it refers to outlives it.
// Threads: safe from any. The process holds units, not the thread.
// Death:   units whose dead holder is known are found by one that waits, within
//          50 ms, and by one that would not get any otherwise.
// Source:  man 3 sem_post, of which this is the robust form that there is not.
class SemaphoreCore {
 public:
  static constexpr uint32_t kAnonymous = uint32_t{1} << 31;
  static constexpr uint32_t kMaxValue = INT32_MAX;

  enum class Kind {
    kPlain,     // units may come from nowhere, and most have no holder
    kGiveBack,  // the same, but each acquired one has a holder
    kBounded,   // there are never more units than at first
  };

  SemaphoreCore(SemaphoreCoreState& state, absl::Span<UnitCell> cells,
                Members& members, Kind kind)
      : state_(state), cells_(cells), members_(members), kind_(kind) {}

  // Waits for a unit and takes it.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kResourceExhausted   this process cannot become a member.
  absl::Status Acquire(absl::Duration timeout) {
    if (TakeAtHint(OwnMark())) return absl::OkStatus();
    return AcquireSlowly(kind_ != Kind::kPlain, timeout);
  }

  // Gives a unit back, or adds one.
  //
  // Errors:
  //   kFailedPrecondition  of a bounded one: all are there already.
  //   kOutOfRange          there would be more than kMaxValue.
  absl::Status Release() {
    if (!FreeAtHint(OwnMark())) return ReleaseSlowly();
    WakeOne();
    return absl::OkStatus();
  }

  // The same, with this process as the holder, of any kind.
  absl::Status AcquireAsHolder(absl::Duration timeout) {
    if (TakeAtHint(members_.self())) return absl::OkStatus();
    return AcquireSlowly(/*as_holder=*/true, timeout);
  }
  absl::Status ReleaseAsHolder();

  // How many units are free.
  uint32_t Value();

  // As in "Semaphore(value 2)".
  std::string ToString();

 private:
  absl::string_view name() const {
    return kind_ == Kind::kBounded ? "BoundedSemaphore" : "Semaphore";
  }

  // What Acquire() writes into a cell. 0 if that is not known yet.
  uint32_t OwnMark() const {
    return kind_ == Kind::kPlain ? kAnonymous : members_.self();
  }

  // The way of one that is alone.
  bool TakeAtHint(uint32_t mark) {
    const uint32_t at = state_.hint.load(std::memory_order_relaxed);
    uint32_t free = 0;
    return mark != 0 && at < cells_.size() &&
           state_.spare.load(std::memory_order_relaxed) == 0 &&
           cells_[at].compare_exchange_strong(free, mark);
  }
  bool FreeAtHint(uint32_t mark) {
    const uint32_t at = state_.hint.load(std::memory_order_relaxed);
    return mark != 0 && at < cells_.size() &&
           cells_[at].compare_exchange_strong(mark, 0);
  }

  // Whoever sees no sleepers was here before they looked at the cells.
  void WakeOne() {
    if ((state_.sleepers.load() & 1) != 0) WakeOneSlowly();
  }

  absl::Status AcquireSlowly(bool as_holder, absl::Duration timeout);
  absl::Status ReleaseSlowly();
  void WakeOneSlowly();

  bool Take(uint32_t mark);
  bool TakeCell(uint32_t mark);
  bool TakeSpare();
  bool Free(uint32_t mark);
  bool FreeAny();
  absl::Status AddSpare();
  int GiveBackOfTheDead();
  uint32_t First() const;
  void SetHint(uint32_t at);

  SemaphoreCoreState& state_;
  const absl::Span<UnitCell> cells_;
  Members& members_;
  const Kind kind_;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_SYNC_INTERNAL_SEMAPHORE_CORE_H_
