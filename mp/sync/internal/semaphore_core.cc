#include "mp/sync/internal/semaphore_core.h"

#include <algorithm>
#include <array>
#include <climits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// How long one sleeps before it looks which holders live: the first time, and
// later.
constexpr absl::Duration kPatience = absl::Milliseconds(2);
constexpr absl::Duration kSlice = absl::Milliseconds(50);

// How often one looks for a unit that is taken, before it says that none is.
// One that others move from cell to cell meanwhile may be missed once.
constexpr int kLooks = 16;

bool IsHolder(uint32_t mark) {
  return mark != 0 && mark != SemaphoreCore::kAnonymous;
}

}  // namespace

// One who says that it sleeps, then finds no unit and then does sleep, cannot
// miss one: whoever gives a unit back later sees that somebody sleeps.
absl::Status SemaphoreCore::AcquireSlowly(bool as_holder,
                                          absl::Duration timeout) {
  uint32_t mark = kAnonymous;
  if (as_holder) {
    MP_ASSIGN_OR_RETURN(mark, members_.Self());
  }
  if (Take(mark)) return absl::OkStatus();
  const Deadline deadline(timeout);
  Deadline next_look(kPatience);
  while (true) {
    const bool is_over = deadline.Expired();
    if (is_over || next_look.Expired()) {
      GiveBackOfTheDead();
      if (Take(mark)) return absl::OkStatus();
      if (is_over) break;
      next_look = Deadline(kSlice);
    }
    const uint32_t wanted = state_.sleepers.fetch_or(1) | 1;
    if (Take(mark)) return absl::OkStatus();
    const bool ends_before = deadline.Remaining() < next_look.Remaining();
    FutexWait(state_.sleepers, wanted, ends_before ? deadline : next_look);
    if (Take(mark)) return absl::OkStatus();
  }
  return absl::DeadlineExceededError(absl::StrCat(
      ToString(), "::Acquire: no unit was released before the deadline"));
}

absl::Status SemaphoreCore::ReleaseSlowly() {
  const uint32_t mark = OwnMark();
  bool is_freed = mark != 0 && Free(mark);
  if (kind_ != Kind::kPlain) {
    for (int i = 0; i < kLooks && !is_freed; ++i) is_freed = FreeAny();
  }
  if (!is_freed && kind_ == Kind::kBounded) {
    return absl::FailedPreconditionError(
        absl::StrCat("BoundedSemaphore::Release: released too many times; all ",
                     cells_.size(), " units are there"));
  }
  if (!is_freed) MP_RETURN_IF_ERROR(AddSpare());
  WakeOne();
  return absl::OkStatus();
}

// A unit that came from nowhere goes back there.
absl::Status SemaphoreCore::ReleaseAsHolder() {
  if (kind_ != Kind::kPlain) return Release();
  const MemberId self = members_.self();
  if (self == kNobody || !Free(self)) MP_RETURN_IF_ERROR(AddSpare());
  WakeOne();
  return absl::OkStatus();
}

// Nobody sleeps after a wake that found nobody, but for those that went to
// sleep since. These see the word change, or are woken.
void SemaphoreCore::WakeOneSlowly() {
  uint32_t seen = state_.sleepers.load();
  if (FutexWake(state_.sleepers, 1) > 0 || (seen & 1) == 0) return;
  if (state_.sleepers.compare_exchange_strong(seen, seen + 1)) {
    FutexWake(state_.sleepers, INT_MAX);
  }
}

bool SemaphoreCore::Take(uint32_t mark) {
  // One that has no holder leaves the cells to those who have.
  if (!IsHolder(mark)) return TakeSpare() || TakeCell(mark);
  return TakeCell(mark) || TakeSpare();
}

// Searches upwards, where Free() searches downwards: so units lie below the
// hint, and free cells above.
bool SemaphoreCore::TakeCell(uint32_t mark) {
  const auto size = static_cast<uint32_t>(cells_.size());
  for (uint32_t i = 0, at = First(); i < size; ++i) {
    uint32_t free = 0;
    if (cells_[at].load(std::memory_order_relaxed) == free &&
        cells_[at].compare_exchange_strong(free, mark)) {
      SetHint(at);
      return true;
    }
    at = at + 1 < size ? at + 1 : 0;
  }
  return false;
}

bool SemaphoreCore::TakeSpare() {
  uint32_t spare = state_.spare.load();
  while (spare > 0) {
    if (state_.spare.compare_exchange_weak(spare, spare - 1)) return true;
  }
  return false;
}

bool SemaphoreCore::Free(uint32_t mark) {
  const auto size = static_cast<uint32_t>(cells_.size());
  for (uint32_t i = 0, at = First(); i < size; ++i) {
    uint32_t own = mark;
    if (cells_[at].load(std::memory_order_relaxed) == own &&
        cells_[at].compare_exchange_strong(own, 0)) {
      SetHint(at);
      return true;
    }
    at = (at > 0 ? at : size) - 1;
  }
  return false;
}

// Any process may release what another has acquired.
bool SemaphoreCore::FreeAny() {
  for (UnitCell& cell : cells_) {
    uint32_t mark = cell.load();
    if (mark != 0 && cell.compare_exchange_strong(mark, 0)) return true;
  }
  return false;
}

absl::Status SemaphoreCore::AddSpare() {
  uint32_t spare = state_.spare.load();
  do {
    if (spare >= kMaxValue - cells_.size()) {
      return absl::OutOfRangeError(absl::StrCat(
          "Semaphore::Release: the value would be more than ", kMaxValue));
    }
  } while (!state_.spare.compare_exchange_weak(spare, spare + 1));
  return absl::OkStatus();
}

// Frees the cells of the dead. Returns how many.
int SemaphoreCore::GiveBackOfTheDead() {
  int count = 0;
  // Those of whom the kernel has said that they live: it is asked once for each
  // holder, not for each unit.
  std::array<MemberId, 64> alive = {};
  for (UnitCell& cell : cells_) {
    uint32_t mark = cell.load();
    MemberId& known = alive[mark % alive.size()];
    if (!IsHolder(mark) || mark == known) continue;
    if (!members_.IsGone(mark)) {
      known = mark;
    } else if (cell.compare_exchange_strong(mark, 0)) {
      ++count;
      WakeOne();
    }
  }
  return count;
}

uint32_t SemaphoreCore::Value() {
  GiveBackOfTheDead();
  const auto free = static_cast<uint32_t>(
      std::count_if(cells_.begin(), cells_.end(),
                    [](const UnitCell& cell) { return cell.load() == 0; }));
  return free + state_.spare.load();
}

std::string SemaphoreCore::ToString() {
  const std::string limit = kind_ == Kind::kBounded
                                ? absl::StrCat(" of ", cells_.size())
                                : std::string();
  return absl::StrCat(name(), "(value ", Value(), limit, ")");
}

// Where a search begins. Others may have written anything there.
uint32_t SemaphoreCore::First() const {
  const uint32_t hint = state_.hint.load(std::memory_order_relaxed);
  return hint < cells_.size() ? hint : 0;
}

void SemaphoreCore::SetHint(uint32_t at) {
  if (state_.hint.load(std::memory_order_relaxed) != at) {
    state_.hint.store(at, std::memory_order_relaxed);
  }
}

}  // namespace mp::internal
