#include "mp/sync/barrier.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace mp {
namespace {

constexpr uint32_t kMostParties = 4096;

// How many cells there is room for behind a state.
size_t CellsIn(size_t size_bytes) {
  return (size_bytes - sizeof(BarrierState)) / sizeof(internal::PartyCell);
}

// How many of them count. The number lies in memory that others can write.
size_t CellsOf(const internal::Placed<BarrierState>& placed) {
  const size_t room = CellsIn(placed.size_bytes());
  const size_t wanted = placed->core.parties;
  return wanted == 0 ? room : std::min(wanted, room);
}

}  // namespace

absl::StatusOr<Barrier> Barrier::Create(const Options& options) {
  if (options.parties == 0 || options.parties > kMostParties) {
    return absl::InvalidArgumentError(
        absl::StrCat("Barrier::Create: parties is ", options.parties,
                     ", and must be 1 to ", kMostParties));
  }
  MP_ASSIGN_OR_RETURN(auto placed,
                      internal::Placed<BarrierState>::Create(
                          sizeof(BarrierState) +
                          options.parties * sizeof(internal::PartyCell)));
  placed->core.parties = options.parties;
  return Barrier(std::move(placed));
}

absl::StatusOr<Barrier> Barrier::AtBytes(BarrierState* state,
                                         const Arena& arena,
                                         size_t size_bytes) {
  MP_ASSIGN_OR_RETURN(auto placed, internal::Placed<BarrierState>::At(
                                       state, arena, size_bytes));
  return Barrier(std::move(placed));
}

absl::StatusOr<Barrier> Barrier::Check(internal::Placed<BarrierState> placed) {
  if (CellsIn(placed.size_bytes()) > 0) return Barrier(std::move(placed));
  return absl::DataLossError("a slot without cells where a Barrier should be");
}

internal::BarrierCore Barrier::Core() const {
  // The cells lie behind the state, in the same slot or BarrierStateOf.
  auto* const cells = reinterpret_cast<internal::PartyCell*>(placed_.get() + 1);
  return internal::BarrierCore(placed_->core,
                               absl::MakeSpan(cells, CellsOf(placed_)),
                               placed_.members());
}

absl::StatusOr<int> Barrier::Wait(absl::Duration timeout) {
  if (!placed_) return placed_.Nothing("Barrier::Wait");
  return Core().Wait(std::nullopt, timeout);
}

absl::StatusOr<int> Barrier::Wait(Action action, absl::Duration timeout) {
  if (!placed_) return placed_.Nothing("Barrier::Wait");
  return Core().Wait(action, timeout);
}

absl::Status Barrier::Abort() {
  if (!placed_) return placed_.Nothing("Barrier::Abort");
  Core().Abort();
  return absl::OkStatus();
}

absl::Status Barrier::Reset() {
  if (!placed_) return placed_.Nothing("Barrier::Reset");
  Core().Reset();
  return absl::OkStatus();
}

std::string Barrier::ToString() const {
  return placed_ ? Core().ToString() : "Barrier(empty)";
}

}  // namespace mp
