#include "mp/base/arena_map.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_registry.h"
#include "mp/base/arena_slots.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"

namespace mp::internal {

absl::StatusOr<std::shared_ptr<ArenaMap>> ArenaMap::Make(ArenaFile file) {
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Members> members,
                      Members::Attach(file.fd(), file.head().members));
  std::shared_ptr<ArenaMap> map(
      new ArenaMap(std::move(file), std::move(members)));
  map->self_ = map;
  ForkSafeLock lock(map->mutex_);
  map->RenewSpare();
  return map;
}

ArenaMap::ArenaMap(ArenaFile file, std::unique_ptr<Members> members)
    : file_(std::move(file)),
      members_(std::move(members)),
      slots_(file_, *members_) {}

ArenaMap::~ArenaMap() {
  ArenaRegistry::Get().Remove(*this);
  ForkSafeLock lock(mutex_);
  TakeSpare().Close();
}

bool ArenaMap::IsFitForMore() const {
  return slots_.unclaimed_chunks() >= file_.chunks() / 64 + 1 &&
         !file_.was_found_closed();
}

SlotPlace ArenaMap::PlaceOf(const char* data) {
  return *slots_.AtOffset(static_cast<uint64_t>(data - file_.base()));
}

SlotUse& ArenaMap::UseOf(const SlotPlace& slot) {
  std::unique_ptr<SlotUse[]>& uses = uses_[slot.index / kSlotsPerChunk];
  if (uses == nullptr) {
    uses = std::make_unique<SlotUse[]>(SlotsIn(slot.size_class));
  }
  return uses[slot.index % kSlotsPerChunk];
}

// ---- Allocate

absl::StatusOr<SlotRef> ArenaMap::Allocate(size_t bytes) {
  if (bytes == 0 || bytes > kMaxSlotBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Arena::Allocate: ", bytes, " bytes, a slot has 1 to ", kMaxSlotBytes));
  }
  MP_ASSIGN_OR_RETURN(const MemberId self, members_->Self());
  ForkSafeLock lock(mutex_);
  MP_ASSIGN_OR_RETURN(const SlotPlace slot, Take(SizeClassOf(bytes), self));
  SlotUse& use = UseOf(slot);
  use.is_holder = true;
  use.alone_since.store(forks_, std::memory_order_relaxed);
  use.count.store(1, std::memory_order_relaxed);
  ++held_;
  return SlotRef{&use, slot.data};
}

absl::StatusOr<SlotPlace> ArenaMap::Take(uint32_t size_class, MemberId self) {
  Shelf& shelf = shelves_[size_class];
  SlotPlace slot;
  if (TakeFreed(shelf, self, slot)) return slot;
  while (true) {
    if (TakeNext(shelf, self, slot)) return slot;
    const uint32_t chunk = FindChunk(size_class, shelf.chunk);
    if (chunk == 0) break;
    shelf.chunk = chunk;
    shelf.place = 0;
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "Arena::Allocate: all ", file_.size_bytes(),
      " bytes of the arena are used; begin another with Arena::Create()"));
}

bool ArenaMap::TakeFreed(Shelf& shelf, MemberId self, SlotPlace& slot) {
  while (!shelf.freed.empty()) {
    slot = *slots_.At(shelf.freed.back());
    shelf.freed.pop_back();
    // Another process may have come first.
    if (slots_.Claim(slot, self)) return true;
  }
  return false;
}

bool ArenaMap::TakeNext(Shelf& shelf, MemberId self, SlotPlace& slot) {
  if (shelf.chunk == 0) return false;
  const uint32_t places = SlotsIn(*slots_.ClassOf(shelf.chunk));
  while (shelf.place < places) {
    slot = *slots_.At(shelf.chunk * kSlotsPerChunk + shelf.place++);
    if (slots_.Claim(slot, self)) return true;
  }
  slots_.NoteFull(shelf.chunk);
  return false;
}

// Returns a chunk with free slots, where there are some; 0 if there is none.
uint32_t ArenaMap::FindChunk(uint32_t size_class, uint32_t after) {
  const auto capacity = static_cast<int32_t>(SlotsIn(size_class));
  if (slots_.IsTimeToSweep()) slots_.Sweep();
  // One that is nearly full is not worth the search.
  uint32_t chunk = slots_.NextChunk(size_class, after, capacity * 3 / 4);
  if (chunk == 0) chunk = slots_.ClaimChunk(size_class);
  if (chunk != 0) return chunk;
  chunk = slots_.NextChunk(size_class, after, capacity - 1);
  if (chunk != 0) return chunk;
  slots_.Sweep();
  return slots_.NextChunk(size_class, after, capacity - 1);
}

// ---- Receive

absl::StatusOr<SlotRef> ArenaMap::Receive(uint64_t offset) {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_->Self());
  ForkSafeLock lock(mutex_);
  const std::optional<SlotPlace> slot = slots_.AtOffset(offset);
  const auto is_there = [&] {
    return slot.has_value() && SlotHeader::IsUsed(slot->header->state.load()) &&
           slot->header->extension_of.load() == kNoSlot;
  };
  if (!is_there()) {
    return absl::DataLossError(
        absl::StrCat("Slot::Receive: offset ", offset, " in an arena of ",
                     file_.size_bytes(), " bytes is no slot that is used"));
  }
  SlotUse& use = UseOf(*slot);
  if (!use.is_holder) {
    MP_RETURN_IF_ERROR(BeHolder(*slot, self));
    use.is_holder = true;
    use.alone_since.store(0, std::memory_order_relaxed);
    ++held_;
  }
  use.count.fetch_add(1, std::memory_order_relaxed);
  return SlotRef{&use, slot->data};
}

absl::Status ArenaMap::BeHolder(const SlotPlace& slot, MemberId self) {
  if (slots_.AddHolder(slot, self)) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const SlotPlace extension,
                      Take(SizeClassOf(sizeof(HolderExtension)), self));
  slots_.Extend(slot, extension, self);
  return absl::OkStatus();
}

// ---- Drop

void ArenaMap::NoteShipped(const SlotPlace& slot, SlotUse& use) {
  use.alone_since.store(0, std::memory_order_relaxed);
  slot.header->state.fetch_add(2);
}

void ArenaMap::Drop(const char* data) {
  ForkSafeLock lock(mutex_);
  const SlotPlace slot = PlaceOf(data);
  SlotUse& use = UseOf(slot);
  // It may have been received again meanwhile, or dropped twice by now.
  if (use.count.load() != 0 || !use.is_holder || keeps_all_) return;
  GiveUp(slot, use);
}

void ArenaMap::GiveUp(const SlotPlace& slot, SlotUse& use) {
  use.is_holder = false;
  --held_;
  const MemberId self = members_->self();
  if (self == kNobody) return;  // a child that has not become a holder
  slots_.RemoveHolder(slot, self);
  if (use.alone_since.load(std::memory_order_relaxed) == forks_) {
    slots_.FreeAlone(slot);
  } else {
    slots_.FreeIfUnused(slot);
  }
  if (!SlotHeader::IsUsed(slot.header->state.load())) {
    shelves_[slot.size_class].freed.push_back(slot.index);
  }
}

// ---- Fork

void ArenaMap::BeforeFork() {
  mutex_.Lock();
  if (held_ == 0) return;
  absl::StatusOr<Fd> transit = file_.Reopen();
  if (!transit.ok()) transit = TakeSpare();
  if (transit->is_open() && LockTransit(transit->get(), 0, kMaxSlots).ok()) {
    fork_transit_ = *std::move(transit);
    file_.head().forks.fetch_add(1);
  } else {
    keeps_all_ = true;
  }
}

void ArenaMap::AfterForkInParent() {
  ++forks_;
  if (keeps_all_) kept_ = self_.lock();
  fork_transit_.Close();
  if (!spare_.is_open()) RenewSpare();
  mutex_.Unlock();
}

void ArenaMap::AfterForkInChild() {
  ++forks_;
  keeps_all_ = false;
  if (held_ > 0 && BeHolderOfAll().ok()) {
    // It may be what this process lives by, and then stays open.
    UnlockTransit(fork_transit_.get(), 0, kMaxSlots);
  } else {
    // Then the descriptor keeps them, for as long as there is this process.
    static_cast<void>(fork_transit_.Release());
  }
  fork_transit_.Close();
  RenewSpare();  // which is the parent's until then
  mutex_.Unlock();
}

// None if there is none, or a program has closed it that closes what it does
// not know.
Fd ArenaMap::TakeSpare() {
  if (!spare_.is_open() || file_.IsOn(spare_.get())) return std::move(spare_);
  static_cast<void>(spare_.Release());
  return Fd();
}

void ArenaMap::RenewSpare() {
  TakeSpare().Close();
  absl::StatusOr<Fd> spare = file_.Reopen();
  if (spare.ok()) spare_ = *std::move(spare);
}

absl::Status ArenaMap::BeHolderOfAll() {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_->SelfBy(fork_transit_));
  for (uint32_t chunk = 1; chunk < file_.chunks(); ++chunk) {
    if (uses_[chunk] == nullptr) continue;
    const uint32_t places = SlotsIn(*slots_.ClassOf(chunk));
    for (uint32_t place = 0; place < places; ++place) {
      if (!uses_[chunk][place].is_holder) continue;
      const SlotPlace slot = *slots_.At(chunk * kSlotsPerChunk + place);
      MP_RETURN_IF_ERROR(BeHolder(slot, self));
    }
  }
  return absl::OkStatus();
}

}  // namespace mp::internal
