#ifndef MP_BASE_ARENA_SLOTS_H_
#define MP_BASE_ARENA_SLOTS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/members.h"

namespace mp::internal {

// One slot, as it lies in this process's memory.
struct SlotPlace {
  SlotIndex index;
  uint32_t size_class;
  SlotHeader* header;
  char* data;
};

// Which slots of an arena are used, and by whom: the part that processes share.
// Each change is one store to one word, so that a process can be killed between
// any two. What a stranger has written there does no more harm than to give a
// wrong answer.
//
// Owns:    nothing: `file` and `members` outlive it.
// Threads: safe from any; but for one slot, a process does one thing at a time.
class ArenaSlots {
 public:
  ArenaSlots(const ArenaFile& file, Members& members)
      : file_(file), members_(members) {}

  // The slot of a number, or whose bytes begin at an offset in the file; none
  // if there is no such slot.
  std::optional<SlotPlace> At(SlotIndex index);
  std::optional<SlotPlace> AtOffset(uint64_t offset);

  // The size class of a chunk; none if it has none, or is none.
  std::optional<uint32_t> ClassOf(uint32_t chunk);

  // Gives a chunk that has no size class one. Returns its number; 0 if there is
  // none.
  uint32_t ClaimChunk(uint32_t size_class);

  // Returns a chunk of a size class after `chunk`, round about, with at most
  // `used` slots used; 0 if there is none.
  uint32_t NextChunk(uint32_t size_class, uint32_t chunk, int32_t used);

  // Notes that a look at all of a chunk has found nothing.
  void NoteFull(uint32_t chunk);

  // How many chunks have no size class.
  uint32_t unclaimed_chunks() const;

  // Makes a free slot one that `self` alone uses, and zeroes it. Returns false
  // if it is not free.
  bool Claim(const SlotPlace& slot, MemberId self);

  // Adds or removes one that uses it. While it is added, somebody must keep the
  // slot. Returns false if there is no room: see Extend().
  bool AddHolder(const SlotPlace& slot, MemberId self);
  void RemoveHolder(const SlotPlace& slot, MemberId self);

  // Makes `extension`, which `self` has claimed for this, a part of the slot
  // that has `self` as one that uses it.
  void Extend(const SlotPlace& slot, const SlotPlace& extension, MemberId self);

  // Frees it if nobody uses it, and it is not under way to anybody.
  void FreeIfUnused(const SlotPlace& slot);

  // Frees one that only this process has ever used.
  void FreeAlone(const SlotPlace& slot);

  // Frees all that only dead processes use.
  void Sweep();

  // Whether so many chunks have been claimed since the last sweep that it is
  // time for one.
  bool IsTimeToSweep() const;

 private:
  // Calls `visit` for each cell of holders until it returns true. Returns
  // whether one did.
  bool AnyCell(const SlotPlace& slot,
               absl::FunctionRef<bool(std::atomic<MemberId>&)> visit);

  // The extension that a slot, or an extension, goes on with.
  std::optional<SlotPlace> ExtensionOf(SlotIndex owner, SlotIndex index);

  bool HasLiveHolder(const SlotPlace& slot);
  bool IsPartOfAnother(const SlotPlace& slot);
  void Forget(const SlotPlace& slot);
  void SweepChunk(uint32_t chunk, uint32_t size_class);
  void Free(const SlotPlace& slot, uint64_t state);

  uint32_t claimed_chunks() const;

  const ArenaFile& file_;
  Members& members_;
  // The size class and 1 of those chunks that have been seen to have one, as
  // strangers may write to the file.
  std::array<std::atomic<uint8_t>, kMaxChunks> classes_{};
};

}  // namespace mp::internal

#endif  // MP_BASE_ARENA_SLOTS_H_
