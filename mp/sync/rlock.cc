#include "mp/sync/rlock.h"

#include <string>

namespace mp {

absl::StatusOr<RLock> RLock::Create(const Options& options) {
  MP_ASSIGN_OR_RETURN(auto placed, internal::Placed<RLockState>::Create());
  placed->SetOptions(options);
  return RLock(std::move(placed));
}

absl::StatusOr<RLock> RLock::At(RLockState* state, const Arena& arena) {
  MP_ASSIGN_OR_RETURN(auto placed,
                      internal::Placed<RLockState>::At(state, arena));
  return RLock(std::move(placed));
}

absl::Status RLock::AcquireAbandoned() {
  if (!placed_) return placed_.Nothing("RLock::AcquireAbandoned");
  return Core().AcquireAbandoned();
}

absl::Status RLock::MarkRepaired() {
  if (!placed_) return placed_.Nothing("RLock::MarkRepaired");
  return Core().MarkRepaired();
}

bool RLock::try_lock() {
  const absl::Status taken = Acquire(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

std::string RLock::ToString() const {
  return placed_ ? Core().ToString() : "RLock(empty)";
}

}  // namespace mp
