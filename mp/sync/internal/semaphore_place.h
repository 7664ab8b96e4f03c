#ifndef MP_SYNC_INTERNAL_SEMAPHORE_PLACE_H_
#define MP_SYNC_INTERNAL_SEMAPHORE_PLACE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/internal/semaphore_core.h"

namespace mp {

// The part of a semaphore that processes share: this, and the cells of its
// units right behind it. Who places one in memory of its own uses
// SemaphoreStateOf.
//
// Shape: 32 bytes, laid out as in docs/sync_format.md.
struct SemaphoreState {
  internal::SemaphoreCoreState core;
};

// All zero is one of `kUnits` free units.
template <uint32_t kUnits>
struct SemaphoreStateOf {
  static_assert(kUnits > 0 && kUnits <= 16'000);

  // For one who makes it, before others see it. Of a Semaphore only.
  void SetOnHolderDeath(OnHolderDeath on_holder_death) {
    state.core.on_holder_death = on_holder_death;
  }

  SemaphoreState state;
  internal::UnitCell cells[kUnits];
};
static_assert(sizeof(SemaphoreState) == 32 &&
              sizeof(SemaphoreStateOf<2>) == sizeof(SemaphoreState) + 8 &&
              std::is_standard_layout_v<SemaphoreStateOf<2>>);

namespace internal {

// Where a semaphore lies, bounded or not: its state, and the cells behind it.
//
// Example:
//   MP_ASSIGN_OR_RETURN(SemaphorePlace place, SemaphorePlace::Create(3));
//   place.Core(SemaphoreCore::Kind::kBounded).Acquire(timeout);
class SemaphorePlace {
 public:
  // What a slot has room for, rounded down.
  static constexpr uint32_t kMaxCells = 16'000;

  SemaphorePlace() = default;

  // Errors: those of Placed::Create().
  static absl::StatusOr<SemaphorePlace> Create(uint32_t cells) {
    MP_ASSIGN_OR_RETURN(
        auto placed, Placed<SemaphoreState>::Create(sizeof(SemaphoreState) +
                                                    cells * sizeof(UnitCell)));
    placed->core.cells_and_one = cells + 1;
    return SemaphorePlace(std::move(placed));
  }

  // Errors: those of Placed::At().
  template <uint32_t kUnits>
  static absl::StatusOr<SemaphorePlace> At(SemaphoreStateOf<kUnits>* state,
                                           const Arena& arena) {
    MP_ASSIGN_OR_RETURN(
        auto placed,
        Placed<SemaphoreState>::At(state == nullptr ? nullptr : &state->state,
                                   arena, sizeof(SemaphoreStateOf<kUnits>)));
    return SemaphorePlace(std::move(placed));
  }

  // Errors: those of Placed::Decode().
  static absl::StatusOr<SemaphorePlace> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed, Placed<SemaphoreState>::Decode(decoder));
    return SemaphorePlace(std::move(placed));
  }

  const Placed<SemaphoreState>& placed() const { return placed_; }
  explicit operator bool() const { return static_cast<bool>(placed_); }
  SemaphoreCoreState& state() const { return placed_->core; }

  SemaphoreCore Core(SemaphoreCore::Kind kind) const {
    // The cells lie behind the state, in the same slot or SemaphoreStateOf.
    auto* const cells = reinterpret_cast<UnitCell*>(placed_.get() + 1);
    return SemaphoreCore(state(), absl::MakeSpan(cells, Cells()),
                         placed_.members(), kind);
  }

  // How many cells there are. The number lies in memory that others can write.
  size_t Cells() const {
    const size_t room =
        (placed_.size_bytes() - sizeof(SemaphoreState)) / sizeof(UnitCell);
    const size_t wanted = state().cells_and_one;
    return wanted == 0 ? room : std::min(wanted - 1, room);
  }

  friend bool operator==(const SemaphorePlace&,
                         const SemaphorePlace&) = default;

 private:
  explicit SemaphorePlace(Placed<SemaphoreState> placed)
      : placed_(std::move(placed)) {}

  Placed<SemaphoreState> placed_;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_SYNC_INTERNAL_SEMAPHORE_PLACE_H_
