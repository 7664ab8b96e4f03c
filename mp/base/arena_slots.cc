#include "mp/base/arena_slots.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/functional/function_ref.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/members.h"

namespace mp::internal {
namespace {

using Cell = std::atomic<MemberId>;

// More extensions than there can be: a forged chain ends here.
constexpr int kMaxExtensions = MembersTable::kMaxMembers;

HolderExtension& Extension(const SlotPlace& slot) {
  return *reinterpret_cast<HolderExtension*>(slot.data);
}

}  // namespace

// ---- Where they lie

std::optional<uint32_t> ArenaSlots::ClassOf(uint32_t chunk) {
  if (chunk == 0 || chunk >= file_.chunks()) return std::nullopt;
  std::atomic<uint8_t>& known = classes_[chunk];
  uint32_t size_class = known.load(std::memory_order_relaxed);
  if (size_class == 0) {
    size_class = file_.head().chunks[chunk].size_class.load();
    if (size_class == 0 || size_class > kSizeClasses) return std::nullopt;
    uint8_t unknown = 0;
    if (!known.compare_exchange_strong(unknown,
                                       static_cast<uint8_t>(size_class))) {
      size_class = unknown;
    }
  }
  return size_class - 1;
}

std::optional<SlotPlace> ArenaSlots::At(SlotIndex index) {
  const uint32_t chunk = index / kSlotsPerChunk;
  const uint32_t place = index % kSlotsPerChunk;
  const std::optional<uint32_t> size_class = ClassOf(chunk);
  if (!size_class.has_value() || place >= SlotsIn(*size_class)) {
    return std::nullopt;
  }
  char* const at =
      file_.base() + chunk * kChunkBytes + place * Stride(*size_class);
  return SlotPlace{index, *size_class, reinterpret_cast<SlotHeader*>(at),
                   at + kSlotHeaderBytes};
}

std::optional<SlotPlace> ArenaSlots::AtOffset(uint64_t offset) {
  if (offset >= file_.size_bytes()) return std::nullopt;
  const auto chunk = static_cast<uint32_t>(offset / kChunkBytes);
  const uint64_t in_chunk = offset % kChunkBytes;
  const std::optional<uint32_t> size_class = ClassOf(chunk);
  if (!size_class.has_value() ||
      in_chunk % Stride(*size_class) != kSlotHeaderBytes) {
    return std::nullopt;
  }
  const auto place = static_cast<uint32_t>(in_chunk / Stride(*size_class));
  return At(chunk * kSlotsPerChunk + place);
}

// ---- Chunks

uint32_t ArenaSlots::claimed_chunks() const {
  return std::min(file_.head().next_chunk.load(std::memory_order_relaxed),
                  file_.chunks());
}

uint32_t ArenaSlots::unclaimed_chunks() const {
  return file_.chunks() - claimed_chunks();
}

uint32_t ArenaSlots::ClaimChunk(uint32_t size_class) {
  ArenaHead& head = file_.head();
  for (uint32_t chunk = claimed_chunks(); chunk < file_.chunks(); ++chunk) {
    uint32_t none = 0;
    const bool claimed = head.chunks[chunk].size_class.compare_exchange_strong(
        none, size_class + 1);
    // Who is killed before this leaves it to the next one that comes by.
    uint32_t next = chunk;
    head.next_chunk.compare_exchange_strong(next, chunk + 1);
    if (claimed) return chunk;
  }
  return 0;
}

uint32_t ArenaSlots::NextChunk(uint32_t size_class, uint32_t chunk,
                               int32_t used) {
  const uint32_t chunks = claimed_chunks();
  for (uint32_t i = 1; i <= chunks; ++i) {
    const uint32_t next = (chunk + i) % chunks;
    if (ClassOf(next) == size_class && file_.head().chunks[next].used.load(
                                           std::memory_order_relaxed) <= used) {
      return next;
    }
  }
  return 0;
}

void ArenaSlots::NoteFull(uint32_t chunk) {
  const std::optional<uint32_t> size_class = ClassOf(chunk);
  if (!size_class.has_value()) return;
  file_.head().chunks[chunk].used.store(
      static_cast<int32_t>(SlotsIn(*size_class)), std::memory_order_relaxed);
}

// ---- Who uses one

bool ArenaSlots::Claim(const SlotPlace& slot, MemberId self) {
  SlotHeader& header = *slot.header;
  const uint64_t state = header.state.load();
  if (SlotHeader::IsUsed(state)) return false;
  MemberId other = header.holders[0].load();
  if (other != kNobody && !members_.IsGone(other)) return false;
  if (!header.holders[0].compare_exchange_strong(other, self)) return false;
  if (header.state.load() != state) {
    // Used since, and by one that has passed it on.
    header.holders[0].store(kNobody);
    return false;
  }
  if (state != 0) Forget(slot);
  header.state.store(state + 1);
  file_.head().chunks[slot.index / kSlotsPerChunk].used.fetch_add(
      1, std::memory_order_relaxed);
  return true;
}

// Zeroes a free slot, as it was before its first use.
void ArenaSlots::Forget(const SlotPlace& slot) {
  SlotHeader& header = *slot.header;
  for (int i = 1; i < SlotHeader::kHolders; ++i) {
    header.holders[i].store(kNobody, std::memory_order_relaxed);
  }
  header.extension.store(kNoSlot, std::memory_order_relaxed);
  header.extension_of.store(kNoSlot, std::memory_order_relaxed);
  std::memset(slot.data, 0, SlotBytes(slot.size_class));
}

std::optional<SlotPlace> ArenaSlots::ExtensionOf(SlotIndex owner,
                                                 SlotIndex index) {
  if (index == kNoSlot) return std::nullopt;
  std::optional<SlotPlace> extension = At(index);
  if (!extension.has_value() ||
      extension->header->extension_of.load() != owner) {
    return std::nullopt;
  }
  return extension;
}

bool ArenaSlots::AnyCell(const SlotPlace& slot,
                         absl::FunctionRef<bool(Cell&)> visit) {
  for (Cell& cell : slot.header->holders) {
    if (visit(cell)) return true;
  }
  std::optional<SlotPlace> extension =
      ExtensionOf(slot.index, slot.header->extension.load());
  for (int i = 0; extension.has_value() && i < kMaxExtensions; ++i) {
    for (Cell& cell : Extension(*extension).holders) {
      if (visit(cell)) return true;
    }
    extension = ExtensionOf(slot.index, Extension(*extension).next.load());
  }
  return false;
}

bool ArenaSlots::AddHolder(const SlotPlace& slot, MemberId self) {
  const auto take_free = [&](Cell& cell) {
    MemberId nobody = kNobody;
    return cell.load() == kNobody && cell.compare_exchange_strong(nobody, self);
  };
  const auto take_dead = [&](Cell& cell) {
    MemberId holder = cell.load();
    return (holder == kNobody || members_.IsGone(holder)) &&
           cell.compare_exchange_strong(holder, self);
  };
  return AnyCell(slot, take_free) || AnyCell(slot, take_dead);
}

void ArenaSlots::RemoveHolder(const SlotPlace& slot, MemberId self) {
  AnyCell(slot, [&](Cell& cell) {
    MemberId holder = self;
    return cell.load() == self && cell.compare_exchange_strong(holder, kNobody);
  });
}

void ArenaSlots::Extend(const SlotPlace& slot, const SlotPlace& extension,
                        MemberId self) {
  HolderExtension& more = Extension(extension);
  more.holders[0].store(self);
  extension.header->extension_of.store(slot.index);
  // As the first one of the slot's extensions.
  SlotIndex first = slot.header->extension.load();
  do {
    more.next.store(first);
  } while (
      !slot.header->extension.compare_exchange_strong(first, extension.index));
  // Until here, it was this process's own.
  RemoveHolder(extension, self);
}

bool ArenaSlots::HasLiveHolder(const SlotPlace& slot) {
  return AnyCell(slot, [&](Cell& cell) {
    const MemberId holder = cell.load();
    return holder != kNobody && !members_.IsGone(holder);
  });
}

// Whether it is an extension that can be reached from the slot that it extends.
bool ArenaSlots::IsPartOfAnother(const SlotPlace& slot) {
  const SlotIndex owner = slot.header->extension_of.load();
  if (owner == kNoSlot) return false;
  const std::optional<SlotPlace> extended = At(owner);
  if (!extended.has_value() ||
      !SlotHeader::IsUsed(extended->header->state.load())) {
    return false;
  }
  SlotIndex next = extended->header->extension.load();
  for (int i = 0; next != slot.index && i < kMaxExtensions; ++i) {
    const std::optional<SlotPlace> extension = ExtensionOf(owner, next);
    if (!extension.has_value()) return false;
    next = Extension(*extension).next.load();
  }
  return true;
}

// ---- Freeing

// The order matters: see docs/arena_format.md, "To free one".
void ArenaSlots::FreeIfUnused(const SlotPlace& slot) {
  const uint64_t forks = file_.head().forks.load();
  const uint64_t state = slot.header->state.load();
  if (!SlotHeader::IsUsed(state)) return;
  if (file_.IsInTransit(slot.index)) return;
  if (HasLiveHolder(slot) || IsPartOfAnother(slot)) return;
  // A child may have become a holder behind the look, and its parent ended
  // before it.
  if (file_.head().forks.load() != forks) return;
  Free(slot, state);
}

void ArenaSlots::FreeAlone(const SlotPlace& slot) {
  const uint64_t state = slot.header->state.load();
  if (SlotHeader::IsUsed(state)) Free(slot, state);
}

// Unless it has changed since it was in `state`.
void ArenaSlots::Free(const SlotPlace& slot, uint64_t state) {
  if (!slot.header->state.compare_exchange_strong(state, state + 1)) return;
  file_.head().chunks[slot.index / kSlotsPerChunk].used.fetch_sub(
      1, std::memory_order_relaxed);
}

bool ArenaSlots::IsTimeToSweep() const {
  constexpr uint32_t kFewChunks = 4;
  const uint32_t swept_at = file_.head().swept_at.load();
  return claimed_chunks() / 2 >= std::max(swept_at, kFewChunks);
}

void ArenaSlots::Sweep() {
  const uint32_t chunks = claimed_chunks();
  for (uint32_t chunk = 1; chunk < chunks; ++chunk) {
    const std::optional<uint32_t> size_class = ClassOf(chunk);
    if (size_class.has_value()) SweepChunk(chunk, *size_class);
  }
  file_.head().swept_at.store(chunks);
}

void ArenaSlots::SweepChunk(uint32_t chunk, uint32_t size_class) {
  int32_t used = 0;
  for (uint32_t i = 0; i < SlotsIn(size_class); ++i) {
    const SlotPlace slot = *At(chunk * kSlotsPerChunk + i);
    if (!SlotHeader::IsUsed(slot.header->state.load())) continue;
    // Most are used, and this asks the kernel less.
    if (!HasLiveHolder(slot)) FreeIfUnused(slot);
    if (SlotHeader::IsUsed(slot.header->state.load())) ++used;
  }
  file_.head().chunks[chunk].used.store(used, std::memory_order_relaxed);
}

}  // namespace mp::internal
