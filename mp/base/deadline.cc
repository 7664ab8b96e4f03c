#include "mp/base/deadline.h"

#include <algorithm>
#include <ctime>
#include <optional>

#include "absl/time/time.h"

namespace mp {
namespace {

absl::Duration MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace

Deadline::Deadline(absl::Duration timeout)
    : at_(timeout == absl::InfiniteDuration() ? timeout
                                              : MonotonicNow() + timeout) {}

absl::Duration Deadline::Remaining() const {
  if (at_ == absl::InfiniteDuration()) return at_;
  return std::max(at_ - MonotonicNow(), absl::ZeroDuration());
}

std::optional<timespec> Deadline::RemainingTimespec() const {
  const absl::Duration remaining = Remaining();
  if (remaining == absl::InfiniteDuration()) return std::nullopt;
  return absl::ToTimespec(remaining);
}

}  // namespace mp
