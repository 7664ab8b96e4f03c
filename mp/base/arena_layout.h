#ifndef MP_BASE_ARENA_LAYOUT_H_
#define MP_BASE_ARENA_LAYOUT_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "mp/base/format_head.h"
#include "mp/base/members.h"

// How an arena's file is laid out: see docs/arena_format.md.
namespace mp::internal {

inline constexpr char kArenaMagic[] = "mpARENA";
inline constexpr uint32_t kArenaVersion = 1;

inline constexpr size_t kMinArenaBytes = size_t{1} << 20;
inline constexpr size_t kMaxArenaBytes = size_t{256} << 20;

// All slots of a chunk are of one size. The first chunk is the head.
inline constexpr size_t kChunkBytes = size_t{256} << 10;
inline constexpr uint32_t kMaxChunks = kMaxArenaBytes / kChunkBytes;

inline constexpr size_t kSlotHeaderBytes = 64;
inline constexpr size_t kMinSlotBytes = 64;
inline constexpr size_t kMaxSlotBytes = size_t{64} << 10;
inline constexpr uint32_t kSizeClasses = 11;  // 64 bytes, 128, ... 64 KiB

// A slot's number: that of its chunk times this, and its place there. 0, which
// would lie in the head, is none.
using SlotIndex = uint32_t;
inline constexpr SlotIndex kNoSlot = 0;
inline constexpr uint32_t kSlotsPerChunk =
    kChunkBytes / (kSlotHeaderBytes + kMinSlotBytes);
inline constexpr uint32_t kMaxSlots = kMaxChunks * kSlotsPerChunk;

constexpr uint32_t SizeClassOf(size_t bytes) {
  return bytes <= kMinSlotBytes ? 0
                                : static_cast<uint32_t>(std::bit_width(
                                      (bytes - 1) / kMinSlotBytes));
}
constexpr size_t SlotBytes(uint32_t size_class) {
  return kMinSlotBytes << size_class;
}
constexpr size_t Stride(uint32_t size_class) {
  return kSlotHeaderBytes + SlotBytes(size_class);
}
constexpr uint32_t SlotsIn(uint32_t size_class) {
  return static_cast<uint32_t>(kChunkBytes / Stride(size_class));
}
static_assert(SizeClassOf(65) == 1 && SizeClassOf(128) == 1);
static_assert(SizeClassOf(kMaxSlotBytes) == kSizeClasses - 1);

// In front of each slot's bytes. All zero is a slot that was never used.
struct SlotHeader {
  static constexpr int kHolders = 12;

  // Even: free; odd: used. Grows with each change of that, and by 2 whenever
  // the slot is about to travel.
  std::atomic<uint64_t> state;
  // The processes that use it, each once. The first cell of a free slot is
  // taken by the one that is about to use it.
  std::atomic<MemberId> holders[kHolders];
  // A slot with more of them.
  std::atomic<SlotIndex> extension;
  // In such a slot: whose it is.
  std::atomic<SlotIndex> extension_of;

  static bool IsUsed(uint64_t state) { return state % 2 == 1; }
};
static_assert(sizeof(SlotHeader) == kSlotHeaderBytes);

// What a slot that is an extension holds.
struct HolderExtension {
  static constexpr int kHolders = 15;

  std::atomic<SlotIndex> next;
  std::atomic<MemberId> holders[kHolders];
};
static_assert(sizeof(HolderExtension) == kMinSlotBytes);

struct ArenaHead {
  struct Chunk {
    std::atomic<uint32_t> size_class;  // and 1; 0 for none yet
    // About how many slots are used. Only a hint where to look.
    std::atomic<int32_t> used;
  };

  // What was said when it was made, and never changes.
  FormatHead format;
  uint64_t file_bytes;
  uint64_t unused[3];

  // The lowest chunk that may have no size yet.
  alignas(64) std::atomic<uint32_t> next_chunk;
  // What it was at the last sweep.
  std::atomic<uint32_t> swept_at;
  // How often processes that use it have forked.
  std::atomic<uint64_t> forks;

  alignas(4096) Chunk chunks[kMaxChunks];
  MembersTable members;
};
static_assert(sizeof(ArenaHead) == 81920);
static_assert(sizeof(ArenaHead) <= kChunkBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace mp::internal

#endif  // MP_BASE_ARENA_LAYOUT_H_
