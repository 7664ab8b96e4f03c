#include "mp/sync/bounded_semaphore.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace mp {

using internal::SemaphorePlace;

absl::StatusOr<BoundedSemaphore> BoundedSemaphore::Create(
    const Options& options) {
  if (options.value > SemaphorePlace::kMaxCells) {
    return absl::InvalidArgumentError(absl::StrCat(
        "BoundedSemaphore::Create: value is ", options.value,
        ", and must not be more than ", SemaphorePlace::kMaxCells));
  }
  MP_ASSIGN_OR_RETURN(auto place, SemaphorePlace::Create(options.value));
  return BoundedSemaphore(std::move(place));
}

bool BoundedSemaphore::try_lock() {
  const absl::Status taken = Acquire(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

std::string BoundedSemaphore::ToString() const {
  return place_ ? Core().ToString() : "BoundedSemaphore(empty)";
}

}  // namespace mp
