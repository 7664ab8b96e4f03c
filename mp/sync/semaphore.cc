#include "mp/sync/semaphore.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace mp {
namespace {

using internal::SemaphoreCore;
using internal::SemaphorePlace;

// Units of a plain semaphore that have a cell, for guards.
constexpr uint32_t kGuardedUnits = 256;

}  // namespace

absl::StatusOr<Semaphore> Semaphore::Create(const Options& options) {
  const bool is_plain = options.on_holder_death == OnHolderDeath::kKeep;
  const uint32_t most =
      is_plain ? SemaphoreCore::kMaxValue : SemaphorePlace::kMaxCells;
  if (options.value > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("Semaphore::Create: value is ", options.value,
                     ", and must not be more than ", most));
  }
  const uint32_t cells =
      is_plain ? std::min(options.value, kGuardedUnits) : options.value;
  MP_ASSIGN_OR_RETURN(auto place, SemaphorePlace::Create(cells));
  place.state().spare = options.value - cells;
  place.state().on_holder_death = options.on_holder_death;
  return Semaphore(std::move(place));
}

absl::Status Semaphore::AcquireAsHolder(absl::Duration timeout) {
  if (!place_) return Nothing("Semaphore::AcquireAsHolder");
  return Core().AcquireAsHolder(timeout);
}

absl::Status Semaphore::ReleaseAsHolder() {
  if (!place_) return Nothing("Semaphore::ReleaseAsHolder");
  return Core().ReleaseAsHolder();
}

bool Semaphore::try_lock() {
  const absl::Status taken = AcquireAsHolder(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

std::string Semaphore::ToString() const {
  return place_ ? Core().ToString() : "Semaphore(empty)";
}

}  // namespace mp
