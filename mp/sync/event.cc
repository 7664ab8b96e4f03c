#include "mp/sync/event.h"

#include <string>

namespace mp {

absl::StatusOr<Event> Event::Create() {
  MP_ASSIGN_OR_RETURN(auto placed, internal::Placed<EventState>::Create());
  return Event(std::move(placed));
}

absl::StatusOr<Event> Event::At(EventState* state, const Arena& arena) {
  MP_ASSIGN_OR_RETURN(auto placed,
                      internal::Placed<EventState>::At(state, arena));
  return Event(std::move(placed));
}

absl::Status Event::Set() {
  if (!placed_) return placed_.Nothing("Event::Set");
  Core().Set();
  return absl::OkStatus();
}

absl::Status Event::Clear() {
  if (!placed_) return placed_.Nothing("Event::Clear");
  Core().Clear();
  return absl::OkStatus();
}

absl::Status Event::Wait(absl::Duration timeout) const {
  if (!placed_) return placed_.Nothing("Event::Wait");
  if (Core().Wait(timeout)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "Event::Wait: not set before the deadline");
}

std::string Event::ToString() const {
  if (!placed_) return "Event(empty)";
  return IsSet() ? "Event(set)" : "Event(not set)";
}

}  // namespace mp
