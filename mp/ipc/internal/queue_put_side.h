#ifndef MP_IPC_INTERNAL_QUEUE_PUT_SIDE_H_
#define MP_IPC_INTERNAL_QUEUE_PUT_SIDE_H_

#include <bitset>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/parking.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_memory.h"

namespace mp::internal {

// Where the one who holds the put lock is: after the messages that he has
// written, of which others know nothing before he publishes them.
struct PutCursor {
  SideCount published;
  uint64_t count = 0;  // of all messages, with those that he has written
  uint64_t tail = 0;
  uint64_t freed = 0;
  uint64_t bytes = 0;
  uint32_t segment = 0;
  QueueMemory::Segment memory = {};
};

// What the get side said at one moment.
struct GetSnapshot {
  uint64_t count;
  uint64_t head;
  uint64_t bytes;
  uint32_t segment;
};

// Writes messages. Every call is for the holder of the put lock.
//
// Owns:  nothing: the memory outlives it.
// Death: whoever is killed in a call has published nothing. What he has written
//        is written over; memory that he has set aside is left for Sweep().
class QueuePutSide {
 public:
  QueuePutSide(QueueMemory& memory, uint64_t maxsize, uint64_t max_bytes)
      : memory_(memory),
        head_(memory.head()),
        side_(memory.head().put),
        maxsize_(maxsize),
        max_bytes_(max_bytes) {}

  // Begins after the last message.
  //
  // Errors:
  //   kDataLoss           the memory is damaged.
  //   kResourceExhausted  no address space left.
  absl::Status Load(PutCursor& cursor);

  // Makes room for a message of `size` bytes, in a new segment if need be.
  // `fits` is false if that would be too many, or too many bytes.
  //
  // Errors:
  //   kInvalidArgument    it can never be put.
  //   kResourceExhausted  no memory left for it.
  //   kDataLoss           the memory is damaged.
  absl::Status MakeRoom(PutCursor& cursor, uint64_t size, bool& fits);

  // Where its bytes go, after MakeRoom().
  char* Begin(PutCursor& cursor, uint64_t size);

  // The message is written.
  void End(PutCursor& cursor, uint64_t size, uint32_t flags);

  // Shows the others all that is written, by one store.
  void Publish(PutCursor& cursor);

  // Gives back the memory of all segments that are in no use.
  void Sweep();

  // Has the next message go to a new segment of the smallest size. For one who
  // holds both locks, of an empty queue.
  absl::Status StartSmall();

  // Nothing if it changes too fast.
  std::optional<GetSnapshot> LookAtGetSide() const;

  // The largest message that the file has room for.
  uint64_t max_message_bytes() const {
    return memory_.window_bytes() - 2 * kHeaderBytes;
  }

 private:
  absl::Status CheckSize(uint64_t size) const;
  absl::Status CheckLimits(const PutCursor& cursor, uint64_t size, bool& fits);
  bool HasRoom(const PutCursor& cursor, uint64_t entry_bytes) const;
  void LookForFreed(PutCursor& cursor);
  absl::Status Grow(PutCursor& cursor, uint64_t entry_bytes);
  absl::Status GoOnIn(PutCursor& cursor, uint32_t segment, uint64_t bytes);
  absl::Status FindUsed(uint32_t last, std::bitset<kMaxSegments>& used,
                        uint64_t& bytes) const;
  absl::StatusOr<uint32_t> FindUnused(const std::bitset<kMaxSegments>& used,
                                      uint64_t bytes) const;
  std::optional<uint32_t> TakeSpare(const std::bitset<kMaxSegments>& used,
                                    uint64_t bytes);
  uint64_t NextBytes(uint64_t now, uint64_t all, uint64_t entry_bytes) const;

  QueueMemory& memory_;
  QueueHead& head_;
  PutSideState& side_;
  const uint64_t maxsize_;
  const uint64_t max_bytes_;
};

// ---- What every message passes through.

inline absl::Status QueuePutSide::Load(PutCursor& cursor) {
  cursor.published = {side_.count.load(std::memory_order_relaxed)};
  const PutState& state = side_.states[cursor.published.which()];
  cursor.count = cursor.published.count();
  cursor.tail = state.tail.load(std::memory_order_relaxed);
  cursor.freed = state.freed.load(std::memory_order_relaxed);
  cursor.bytes = state.bytes.load(std::memory_order_relaxed);
  cursor.segment = state.segment.load(std::memory_order_relaxed);
  absl::Status found = memory_.Find(cursor.segment, cursor.memory);
  if (!found.ok()) [[unlikely]]
    return found;
  if (((cursor.tail | cursor.freed) % kHeaderBytes) != 0 ||
      cursor.tail - cursor.freed > cursor.memory.bytes - kHeaderBytes)
      [[unlikely]] {
    return absl::DataLossError(
        "Queue::Put: its memory is damaged: where the next message goes");
  }
  return found;
}

inline bool QueuePutSide::HasRoom(const PutCursor& cursor,
                                  uint64_t entry_bytes) const {
  const uint64_t left = cursor.memory.Left(cursor.tail);
  const uint64_t needed =
      entry_bytes <= left ? entry_bytes : left + entry_bytes;
  // There stays room for a link.
  return needed + kHeaderBytes <=
         cursor.memory.bytes - (cursor.tail - cursor.freed);
}

inline absl::Status QueuePutSide::MakeRoom(PutCursor& cursor, uint64_t size,
                                           bool& fits) {
  if (size > kFirstSegmentBytes || max_bytes_ != 0) [[unlikely]] {
    if (absl::Status status = CheckSize(size); !status.ok()) return status;
  }
  fits = true;
  if ((maxsize_ | max_bytes_) != 0) {
    absl::Status status = CheckLimits(cursor, size, fits);
    if (!status.ok() || !fits) return status;
  }
  const uint64_t entry_bytes = EntryBytes(size);
  if (HasRoom(cursor, entry_bytes)) [[likely]]
    return absl::OkStatus();
  return Grow(cursor, entry_bytes);
}

inline char* QueuePutSide::Begin(PutCursor& cursor, uint64_t size) {
  const uint64_t left = cursor.memory.Left(cursor.tail);
  if (EntryBytes(size) > left) [[unlikely]] {
    StoreHeader(cursor.memory.At(cursor.tail), {EntryKind::kPad, 0, 0});
    cursor.tail += left;
  }
  char* const at = cursor.memory.At(cursor.tail);
  return at + kHeaderBytes;
}

inline void QueuePutSide::End(PutCursor& cursor, uint64_t size,
                              uint32_t flags) {
  StoreHeader(cursor.memory.At(cursor.tail),
              {EntryKind::kMessage, static_cast<uint8_t>(flags), size});
  cursor.tail += EntryBytes(size);
  cursor.bytes += size;
  ++cursor.count;
}

inline void QueuePutSide::Publish(PutCursor& cursor) {
  const SideCount next =
      cursor.published.After(cursor.count - cursor.published.count());
  PutState& state = side_.states[next.which()];
  state.tail.store(cursor.tail, std::memory_order_relaxed);
  state.freed.store(cursor.freed, std::memory_order_relaxed);
  state.bytes.store(cursor.bytes, std::memory_order_relaxed);
  state.segment.store(cursor.segment, std::memory_order_relaxed);
  side_.count.store(next.word, std::memory_order_release);
  cursor.published = next;
  // The lines behind the one that is being read now are for the next message.
  FetchToWrite(cursor.memory.At(cursor.tail + 64));
  FetchToWrite(cursor.memory.At(cursor.tail + 128));
}

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_PUT_SIDE_H_
