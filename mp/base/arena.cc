#include "mp/base/arena.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_map.h"
#include "mp/base/arena_registry.h"
#include "mp/base/arena_slots.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"

namespace mp {

using internal::ArenaRegistry;

absl::StatusOr<Arena> Arena::Create() {
  MP_ASSIGN_OR_RETURN(auto map, ArenaRegistry::Get().Create());
  return Arena(std::move(map));
}

absl::StatusOr<Arena> Arena::Default() {
  MP_ASSIGN_OR_RETURN(auto map, ArenaRegistry::Get().Default());
  return Arena(std::move(map));
}

absl::StatusOr<Arena> Arena::Attach(Fd fd) {
  MP_ASSIGN_OR_RETURN(auto map, ArenaRegistry::Get().Attach(std::move(fd)));
  return Arena(std::move(map));
}

absl::StatusOr<Arena> Arena::AttachTransit(const Fd& transit) {
  MP_ASSIGN_OR_RETURN(auto map, ArenaRegistry::Get().AttachTransit(transit));
  return Arena(std::move(map));
}

void Arena::LeaveAll() { ArenaRegistry::Get().LeaveAll(); }

absl::StatusOr<Slot> Arena::Allocate(size_t bytes) {
  MP_ASSIGN_OR_RETURN(const internal::SlotRef slot, map_->Allocate(bytes));
  return Slot(*this, slot.use, slot.data);
}

size_t Slot::size() const {
  return arena_.map().SlotSize(static_cast<const char*>(data_));
}

uint64_t Slot::offset() const {
  return static_cast<uint64_t>(static_cast<const char*>(data_) -
                               arena_.map().base());
}

absl::StatusOr<Fd> Slot::Ship() const {
  const internal::SlotPlace place =
      arena_.map().PlaceOf(static_cast<const char*>(data_));
  MP_ASSIGN_OR_RETURN(Fd transit, arena_.map().file().Reopen());
  MP_RETURN_IF_ERROR(internal::LockTransit(transit.get(), place.index, 1));
  NoteShipped();
  return transit;
}

void Slot::NoteShipped() const {
  internal::ArenaMap::NoteShipped(
      arena_.map().PlaceOf(static_cast<const char*>(data_)), *use_);
}

absl::StatusOr<Slot> Slot::Receive(Fd transit, uint64_t offset) {
  MP_ASSIGN_OR_RETURN(const Arena arena, Arena::AttachTransit(transit));
  return Receive(arena, offset);
}

absl::StatusOr<Slot> Slot::Receive(const Arena& arena, uint64_t offset) {
  MP_ASSIGN_OR_RETURN(const internal::SlotRef slot,
                      arena.map().Receive(offset));
  return Slot(arena, slot.use, slot.data);
}

void Slot::Drop() {
  if (use_->count.fetch_sub(1) != 1) return;
  arena_.map().Drop(static_cast<const char*>(data_));
}

}  // namespace mp
