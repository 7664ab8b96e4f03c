#include "mp/ipc/internal/queue_get_side.h"

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_memory.h"

namespace mp::internal {

absl::Status QueueGetSide::Damaged(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat("Queue::Get: its memory is damaged: ", what));
}

// A pad and a link are written along with the message behind them.
absl::Status QueueGetSide::FindBehind(GetCursor& cursor, EntryHeader header) {
  if (header.kind == EntryKind::kPad) {
    cursor.head += cursor.memory.Left(cursor.head);
  } else if (header.kind == EntryKind::kLink && header.size < kMaxSegments &&
             header.size != cursor.segment) {
    MP_RETURN_IF_ERROR(
        memory_.Find(static_cast<uint32_t>(header.size), cursor.memory));
    cursor.segment = static_cast<uint32_t>(header.size);
    cursor.head = 0;
    cursor.has_moved = true;
  } else {
    return Damaged("no message where one should be");
  }
  return Show(cursor, LoadHeader(cursor.memory.At(cursor.head)));
}

// Gives its memory back, or keeps it as the spare one. The put side does not use
// it again before it is nobody's previous one.
void QueueGetSide::LeavePrevious(uint32_t segment, bool keep) {
  std::atomic<uint32_t>& previous = head_.segments[segment].previous;
  const uint32_t before = previous.load(std::memory_order_relaxed);
  if (before >= kMaxSegments || before == segment) return;
  uint32_t spare = 0;
  const bool is_spare =
      keep && head_.segments[before].bytes.load() > kKeptSegmentBytes &&
      side_.spare.compare_exchange_strong(spare, before + 1);
  if (!is_spare) memory_.GiveBack(before);
  previous.store(kNoSegment, std::memory_order_release);
}

void QueueGetSide::Follow(GetCursor& cursor, uint32_t segment) {
  if (!memory_.Find(segment, cursor.memory).ok()) return;
  const uint32_t place = side_.states[cursor.taken.which()].place.load();
  const uint64_t tally = side_.tallies[cursor.taken.which()].load();
  cursor.segment = segment;
  cursor.head = 0;
  side_.tallies[cursor.taken.which() ^ 1].store(tally);
  Store(cursor, 0, place);
  LeavePrevious(segment, /*keep=*/false);
}

void QueueGetSide::Repair() {
  const SideCount taken = {side_.count.load()};
  const GetState& state = side_.states[taken.which()];
  const uint32_t place = state.place.load() % MembersTable::kMaxMembers;
  head_.tallies[place].taken.store(side_.tallies[taken.which()].load());
  const uint32_t segment = state.segment.load();
  if (segment < kMaxSegments) LeavePrevious(segment, /*keep=*/false);
}

}  // namespace mp::internal
