#include "mp/sync/internal/rlock_core.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

namespace mp::internal {

absl::Status RLockCore::AcquireAgain() {
  const uint32_t depth = Depth();
  if (depth == std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(ToString(), "::Acquire: that is as often as it can be"));
  }
  state_.depth.store(depth + 1, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status RLockCore::NotOwner(absl::string_view operation) const {
  return absl::FailedPreconditionError(absl::StrCat(
      ToString(), "::", operation, ": this thread does not hold it"));
}

std::string RLockCore::ToString() const {
  if (!IsOwn()) return word_.ToString();
  return absl::StrCat(word_.name(), "(held by this thread, ", Depth(),
                      Depth() == 1 ? " time)" : " times)");
}

}  // namespace mp::internal
