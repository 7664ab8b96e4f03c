#include "mp/base/arena_transit.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_map.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"

namespace mp {

using internal::kSlotsPerChunk;

absl::StatusOr<ArenaTransit> ArenaTransit::Begin(const Arena& arena) {
  MP_ASSIGN_OR_RETURN(Fd fd, arena.map().file().Reopen());
  return ArenaTransit(std::move(fd));
}

absl::Status ArenaTransit::Add(const Slot& slot) {
  internal::ArenaMap& map = slot.arena().map();
  const internal::SlotPlace place =
      map.PlaceOf(static_cast<const char*>(slot.data()));
  MP_RETURN_IF_ERROR(Lock(place.index));
  slot.NoteShipped();
  return absl::OkStatus();
}

absl::Status ArenaTransit::Lock(internal::SlotIndex slot) {
  const uint32_t chunk = slot / kSlotsPerChunk;
  if (locked_chunks_[chunk]) return absl::OkStatus();
  if (single_locks_ < kMaxSingleLocks) {
    ++single_locks_;
    return internal::LockTransit(fd_.get(), slot, 1);
  }
  MP_RETURN_IF_ERROR(
      internal::LockTransit(fd_.get(), chunk * kSlotsPerChunk, kSlotsPerChunk));
  locked_chunks_[chunk] = true;
  return absl::OkStatus();
}

}  // namespace mp
