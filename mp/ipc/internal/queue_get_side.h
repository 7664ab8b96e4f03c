#ifndef MP_IPC_INTERNAL_QUEUE_GET_SIDE_H_
#define MP_IPC_INTERNAL_QUEUE_GET_SIDE_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/base/members.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_memory.h"

namespace mp::internal {

// Where the one who holds the get lock is.
struct GetCursor {
  SideCount taken;
  uint64_t head = 0;
  uint64_t bytes = 0;
  uint32_t segment = 0;
  QueueMemory::Segment memory = {};

  // The message that begins there, after QueueGetSide::Find().
  absl::string_view message;
  uint32_t flags = 0;
  bool has_moved = false;  // it is in another segment than the one before
};

// Reads messages. Every call is for the holder of the get lock.
//
// Owns:  nothing: the memory outlives it.
// Death: whoever is killed in a call has taken a message, as the others see it,
//        or has not. What is left to do is for Repair().
class QueueGetSide {
 public:
  explicit QueueGetSide(QueueMemory& memory)
      : memory_(memory), head_(memory.head()), side_(memory.head().get) {}

  // Begins at the first message.
  //
  // Errors, of Find() too:
  //   kDataLoss           the memory is damaged.
  //   kResourceExhausted  no address space left.
  absl::Status Load(GetCursor& cursor);

  // Whether `self` has taken the last message, too.
  bool TookLast(const GetCursor& cursor, MemberId self) const;

  // Whether there is a message, by what is published or was some time ago.
  absl::Status HasMessage(const GetCursor& cursor, bool& has);

  // Finds the message that there is.
  absl::Status Find(GetCursor& cursor);

  // The message is read: frees it, by one store. `self` is who has taken it.
  void Free(GetCursor& cursor, MemberId self);

  // After one who was killed.
  void Repair();

  // Goes on to another, empty segment, that the put side has gone to.
  void Follow(GetCursor& cursor, uint32_t segment);

 private:
  absl::Status FindBehind(GetCursor& cursor, EntryHeader header);
  absl::Status Damaged(absl::string_view what) const;
  absl::Status Show(GetCursor& cursor, EntryHeader header);
  void Store(GetCursor& cursor, uint64_t more, uint32_t place);
  void LeavePrevious(uint32_t segment, bool keep);

  QueueMemory& memory_;
  QueueHead& head_;
  GetSideState& side_;
};

// ---- What every message passes through.

inline absl::Status QueueGetSide::Load(GetCursor& cursor) {
  cursor.taken = {side_.count.load(std::memory_order_relaxed)};
  const GetState& state = side_.states[cursor.taken.which()];
  cursor.head = state.head.load(std::memory_order_relaxed);
  cursor.bytes = state.bytes.load(std::memory_order_relaxed);
  cursor.segment = state.segment.load(std::memory_order_relaxed);
  absl::Status found = memory_.Find(cursor.segment, cursor.memory);
  if (!found.ok()) [[unlikely]]
    return found;
  if (cursor.head % kHeaderBytes != 0) [[unlikely]] {
    return Damaged("where the next message is");
  }
  return found;
}

inline absl::Status QueueGetSide::HasMessage(const GetCursor& cursor,
                                             bool& has) {
  const uint64_t taken = cursor.taken.count();
  has = true;
  if (side_.known_published.load(std::memory_order_relaxed) > taken)
      [[likely]] {
    return absl::OkStatus();
  }
  const SideCount put = {head_.put.count.load(std::memory_order_acquire)};
  side_.known_published.store(put.count(), std::memory_order_relaxed);
  has = put.count() > taken;
  if (put.count() >= taken) [[likely]]
    return absl::OkStatus();
  return Damaged("more was taken than put");
}

inline bool QueueGetSide::TookLast(const GetCursor& cursor,
                                   MemberId self) const {
  const GetState& state = side_.states[cursor.taken.which()];
  return state.place.load(std::memory_order_relaxed) ==
         self % MembersTable::kMaxMembers;
}

inline absl::Status QueueGetSide::Show(GetCursor& cursor, EntryHeader header) {
  if (header.kind != EntryKind::kMessage ||
      header.size > cursor.memory.Left(cursor.head) - kHeaderBytes)
      [[unlikely]] {
    return Damaged("a message");
  }
  cursor.message = {cursor.memory.At(cursor.head) + kHeaderBytes, header.size};
  cursor.flags = header.flags;
  return absl::OkStatus();
}

inline absl::Status QueueGetSide::Find(GetCursor& cursor) {
  const EntryHeader header = LoadHeader(cursor.memory.At(cursor.head));
  if (header.kind == EntryKind::kMessage) [[likely]] {
    return Show(cursor, header);
  }
  return FindBehind(cursor, header);
}

// Release stores, so that whoever sees one of them sees the count before it.
inline void QueueGetSide::Store(GetCursor& cursor, uint64_t more,
                                uint32_t place) {
  const SideCount next = cursor.taken.After(more);
  GetState& state = side_.states[next.which()];
  state.head.store(cursor.head, std::memory_order_release);
  state.bytes.store(cursor.bytes, std::memory_order_release);
  state.segment.store(cursor.segment, std::memory_order_release);
  state.place.store(place, std::memory_order_release);
  side_.count.store(next.word, std::memory_order_release);
  cursor.taken = next;
}

inline void QueueGetSide::Free(GetCursor& cursor, MemberId self) {
  cursor.head += EntryBytes(cursor.message.size());
  cursor.bytes += cursor.message.size();
  const uint32_t place = self % MembersTable::kMaxMembers;
  TaskTally& tally = head_.tallies[place];
  const uint64_t taken = tally.taken.load(std::memory_order_relaxed);
  if (tally.member.load(std::memory_order_relaxed) != self) [[unlikely]] {
    tally.inherited.store(taken);
    tally.member.store(self);
  }
  side_.tallies[cursor.taken.which() ^ 1].store(taken + 1,
                                                std::memory_order_release);
  Store(cursor, 1, place);
  tally.taken.store(taken + 1, std::memory_order_relaxed);
  if (cursor.has_moved) [[unlikely]] {
    LeavePrevious(cursor.segment, cursor.memory.bytes > kKeptSegmentBytes);
    cursor.has_moved = false;
  }
}

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_GET_SIDE_H_
