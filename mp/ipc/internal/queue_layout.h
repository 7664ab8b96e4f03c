#ifndef MP_IPC_INTERNAL_QUEUE_LAYOUT_H_
#define MP_IPC_INTERNAL_QUEUE_LAYOUT_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mp/base/format_head.h"
#include "mp/base/members.h"
#include "mp/base/parking.h"
#include "mp/sync/internal/lock_word.h"

// The memory of a queue, as docs/queue_format.md has it. Whoever changes it
// changes kQueueVersion.

namespace mp::internal {

inline constexpr char kQueueMagic[] = "mpQUEUE";
inline constexpr uint32_t kQueueVersion = 1;

// The file is so many windows of one size: one for the head, and one for each
// segment, which takes up the beginning of its window as far as it needs.
inline constexpr uint32_t kMaxSegments = 64;
inline constexpr uint32_t kNoSegment = ~uint32_t{0};
inline constexpr uint64_t kMaxWindowBytes = uint64_t{1} << 36;
inline constexpr uint64_t kMinWindowBytes = uint64_t{1} << 20;

inline constexpr uint64_t kFirstSegmentBytes = uint64_t{1} << 16;
// One that is larger is given back as soon as the queue is empty.
inline constexpr uint64_t kKeptSegmentBytes = uint64_t{1} << 22;

// What stands in a segment in front of each message, at a multiple of 8.
inline constexpr uint64_t kHeaderBytes = 8;

enum class EntryKind : uint8_t {
  kMessage = 0xA1,
  kPad = 0xA2,   // goes on at the beginning of the segment
  kLink = 0xA3,  // goes on in another one, whose number is the size
};

// A header, as it is in memory: 8 bits of kind, 8 of flags, and 48 of size.
struct EntryHeader {
  EntryKind kind;
  uint8_t flags;
  uint64_t size;

  uint64_t Packed() const {
    return static_cast<uint64_t>(kind) << 56 | uint64_t{flags} << 48 | size;
  }
  static EntryHeader Of(uint64_t packed) {
    return {static_cast<EntryKind>(packed >> 56),
            static_cast<uint8_t>(packed >> 48),
            packed & ((uint64_t{1} << 48) - 1)};
  }
};

inline void StoreHeader(char* at, EntryHeader header) {
  reinterpret_cast<std::atomic<uint64_t>*>(at)->store(
      header.Packed(), std::memory_order_relaxed);
}
inline EntryHeader LoadHeader(const char* at) {
  return EntryHeader::Of(
      reinterpret_cast<const std::atomic<uint64_t>*>(at)->load(
          std::memory_order_relaxed));
}

// How many bytes a message of `size` takes up.
constexpr uint64_t EntryBytes(uint64_t size) {
  return kHeaderBytes + (size + 7) / 8 * 8;
}

// A count of messages above one bit, which says which of two copies of a side's
// state is the one of that count: so that one store changes all of it.
struct SideCount {
  uint64_t word;

  uint64_t count() const { return word >> 1; }
  int which() const { return static_cast<int>(word & 1); }
  SideCount After(uint64_t more) const {
    return {((count() + more) << 1) | ((word & 1) ^ 1)};
  }
};

// Where the next message goes.
struct PutState {
  std::atomic<uint64_t> tail;   // all that was ever written into the segment
  std::atomic<uint64_t> freed;  // of it, what is known to be read
  std::atomic<uint64_t> bytes;  // of all messages that were ever put
  std::atomic<uint32_t> segment;
  uint32_t unused;
};

// The side of those that put. Those that get look at its count alone.
struct alignas(128) PutSideState {
  LockWordState lock;
  std::atomic<uint64_t> known_taken;        // at least so many
  std::atomic<uint64_t> known_taken_bytes;  // and so many bytes
  uint64_t unused[4];
  PutState states[2];
  alignas(128) std::atomic<uint64_t> count;  // a SideCount
};
static_assert(offsetof(PutSideState, states) == 64);
static_assert(sizeof(PutSideState) == 256);

// Where the next message is.
struct GetState {
  std::atomic<uint64_t> head;   // all that was ever read from the segment
  std::atomic<uint64_t> bytes;  // of all messages that were ever taken
  std::atomic<uint32_t> segment;
  std::atomic<uint32_t> place;  // in the MembersTable, of who took the last
};

// The side of those that get. Those that put look at the count and the states,
// which lie together, so that they seldom change meanwhile.
struct alignas(128) GetSideState {
  LockWordState lock;
  std::atomic<uint64_t> known_published;  // at least so many
  // Of who took the last message: how many he has taken. Beside each state.
  std::atomic<uint64_t> tallies[2];
  // One more than the segment that was left last, if its memory is kept for the
  // next one, so that a stream of large messages goes through warm memory.
  std::atomic<uint32_t> spare;
  alignas(128) std::atomic<uint64_t> count;  // a SideCount
  GetState states[2];
};
static_assert(offsetof(GetSideState, count) == 128);
static_assert(sizeof(GetSideState) == 256);

struct SegmentRecord {
  std::atomic<uint64_t> bytes;  // a power of two
  // The one before, if its memory has not been given back yet.
  std::atomic<uint32_t> previous;
  uint32_t unused;
};
static_assert(sizeof(SegmentRecord) == 16);

// What the members at one place of the MembersTable have taken and done, one
// after another.
struct alignas(64) TaskTally {
  std::atomic<uint64_t> taken;
  std::atomic<uint64_t> done;
  std::atomic<uint64_t> inherited;  // what had been taken before the last one
  std::atomic<MemberId> member;     // who the last one is
  uint32_t unused[9];
};

// How many places in the table anybody has had. The others are holes in the
// file, which a look would fill.
inline uint32_t PlacesUsed(const MembersTable& members) {
  return std::min<uint32_t>(members.next.load(), MembersTable::kMaxMembers);
}

// The tasks that are done.
struct TaskState {
  std::atomic<uint64_t> done;  // of all
  std::atomic<uint64_t> lost;  // of which nobody has been told yet
  std::atomic<int32_t> lost_pid;
  std::atomic<uint32_t> place;       // whose tally changed last,
  std::atomic<uint64_t> place_done;  // and what it became
};

struct alignas(128) QueueTasks {
  LockWordState lock;
  std::atomic<uint64_t> count;  // a SideCount, of changes
  std::atomic<uint64_t> done;   // that of the state
  ParkingSpot all_done;
  uint32_t unused;
  alignas(64) TaskState states[2];
};

// How a queue ended.
enum class QueueEnd : uint32_t {
  kNot = 0,
  kShutDown = 1,  // what is in it can be taken
  kDropped = 2,   // and that is dropped
};

struct QueueHead {
  // Never changes.
  FormatHead format;
  uint64_t window_bytes;
  uint64_t maxsize;
  uint64_t max_bytes;
  uint32_t order;
  uint32_t alone_is_unavailable;

  // Seldom changes, so that looks at it take nothing from those at work.
  alignas(128) std::atomic<QueueEnd> end;
  std::atomic<uint32_t> watched;  // somebody polls the eventfd
  ParkingSpot not_empty;
  ParkingSpot not_full;
  // Where the last one was that put, that got, and that was done with a task.
  CpuNote put_cpu;
  CpuNote get_cpu;
  CpuNote done_cpu;

  PutSideState put;
  GetSideState get;
  QueueTasks tasks;
  SegmentRecord segments[kMaxSegments];

  alignas(4096) MembersTable members;
  alignas(4096) TaskTally tallies[MembersTable::kMaxMembers];
};
static_assert(offsetof(QueueHead, put) == 256);
static_assert(offsetof(QueueHead, members) == 4096);
static_assert(sizeof(QueueHead) <= kMinWindowBytes);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_LAYOUT_H_
