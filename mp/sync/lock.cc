#include "mp/sync/lock.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace mp {

absl::StatusOr<Lock> Lock::Create(const Options& options) {
  MP_ASSIGN_OR_RETURN(auto placed, internal::Placed<LockState>::Create());
  placed->SetOptions(options);
  return Lock(std::move(placed));
}

absl::StatusOr<Lock> Lock::At(LockState* state, const Arena& arena) {
  MP_ASSIGN_OR_RETURN(auto placed,
                      internal::Placed<LockState>::At(state, arena));
  return Lock(std::move(placed));
}

absl::Status Lock::ReleaseOwn() {
  if (!placed_) return placed_.Nothing("Lock::ReleaseOwn");
  if (Word().IsOwn()) return Word().Release();
  return absl::FailedPreconditionError(
      absl::StrCat(ToString(), "::ReleaseOwn: this process does not hold it"));
}

absl::Status Lock::AcquireAbandoned() {
  if (!placed_) return placed_.Nothing("Lock::AcquireAbandoned");
  return Word().AcquireAbandoned();
}

absl::Status Lock::MarkRepaired() {
  if (!placed_) return placed_.Nothing("Lock::MarkRepaired");
  return Word().MarkRepaired();
}

bool Lock::try_lock() {
  const absl::Status taken = Acquire(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

std::string Lock::ToString() const {
  return placed_ ? Word().ToString() : "Lock(empty)";
}

}  // namespace mp
