#include "mp/process/internal/crash_arena.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/process/internal/hold_across_forks.h"

namespace mp::internal {
namespace {

// What it is not worth a system call to give the memory of back.
constexpr size_t kFewSlots = 16;

constexpr size_t kChunkBytes = CrashArena::kSlotsPerChunk * kCrashSlotBytes;

}  // namespace

CrashSlotLease::CrashSlotLease(CrashSlotLease&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)),
      memory_(other.memory_),
      offset_(other.offset_),
      generation_(other.generation_),
      made_memory_(other.made_memory_) {}

CrashSlotLease& CrashSlotLease::operator=(CrashSlotLease&& other) noexcept {
  std::swap(slot_, other.slot_);
  std::swap(memory_, other.memory_);
  std::swap(offset_, other.offset_);
  std::swap(generation_, other.generation_);
  std::swap(made_memory_, other.made_memory_);
  return *this;
}

absl::StatusOr<CrashSlotTicket> CrashSlotLease::MakeTicket() const {
  CrashSlotTicket ticket;
  MP_ASSIGN_OR_RETURN(ticket.memory, Fd::DupOf(memory_));
  ticket.offset = offset_;
  return ticket;
}

void CrashSlotLease::LetBegin(pid_t process) {
  if (slot_ == nullptr) return;
  slot_->known.store(static_cast<uint32_t>(process));
  FutexWake(slot_->known, INT_MAX);
}

void CrashSlotLease::GiveBack() {
  if (slot_ == nullptr) return;
  CrashArena::Get().GiveBack(std::exchange(slot_, nullptr), generation_,
                             /*keep_first=*/true);
}

void CrashSlotLease::Undo() {
  if (slot_ == nullptr) return;
  CrashArena::Get().GiveBack(std::exchange(slot_, nullptr), generation_,
                             /*keep_first=*/!made_memory_);
}

CrashArena& CrashArena::Get() {
  static CrashArena& arena = *new CrashArena;  // outlives exit handlers
  static const bool held = (HoldAcrossForks(arena.mutex_), true);
  static_cast<void>(held);
  return arena;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early = (CrashArena::Get(), true);

CrashArena::Chunk::Chunk(Fd memory, CrashSlot* slots)
    : memory(std::move(memory)), file(this->memory.get()), slots(slots) {
  // The first is to be the first that is used.
  for (size_t i = kSlotsPerChunk; i-- > 0;) free.push_back(&slots[i]);
}

CrashArena::Chunk::~Chunk() {
  if (!MemoryIsOurs()) static_cast<void>(memory.Release());
  if (slots != nullptr) munmap(slots, kChunkBytes);
}

absl::StatusOr<std::unique_ptr<CrashArena::Chunk>> CrashArena::MakeChunk() {
  Fd memory = Fd::AboveStdio(
      Fd(memfd_create("mp-crash-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (!memory.is_open()) return ErrnoStatus(errno, "memfd_create");
  if (ftruncate(memory.get(), kChunkBytes) != 0) {
    return ErrnoStatus(errno, "ftruncate(memfd)");
  }
  if (fcntl(memory.get(), F_ADD_SEALS,
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "fcntl(F_ADD_SEALS)");
  }
  void* const slots = mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE,
                           MAP_SHARED, memory.get(), 0);
  if (slots == MAP_FAILED) return ErrnoStatus(errno, "mmap(memfd)");
  // No forked child is to write to another's slot by a stray pointer.
  madvise(slots, kChunkBytes, MADV_DONTFORK);
  return std::make_unique<Chunk>(std::move(memory),
                                 static_cast<CrashSlot*>(slots));
}

absl::StatusOr<CrashArena::Chunk*> CrashArena::ChunkWithRoom() {
  for (const std::unique_ptr<Chunk>& chunk : chunks_) {
    if (!chunk->free.empty() && chunk->MemoryIsOurs()) return chunk.get();
  }
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Chunk> chunk, MakeChunk());
  chunks_.push_back(std::move(chunk));
  return chunks_.back().get();
}

absl::StatusOr<CrashSlotLease> CrashArena::Take() {
  ForkSafeLock lock(mutex_);
  const size_t chunks_before = chunks_.size();
  MP_ASSIGN_OR_RETURN(Chunk* const chunk, ChunkWithRoom());
  CrashSlotLease lease;
  lease.made_memory_ = chunks_.size() > chunks_before;
  lease.slot_ = chunk->free.back();
  chunk->free.pop_back();
  chunk->most_used =
      std::max(chunk->most_used, kSlotsPerChunk - chunk->free.size());
  lease.memory_ = chunk->memory.get();
  lease.offset_ =
      static_cast<uint64_t>(lease.slot_ - chunk->slots) * kCrashSlotBytes;
  lease.generation_ = generation_;
  ClearCrashSlot(*lease.slot_);
  return lease;
}

void CrashArena::GiveBack(CrashSlot* slot, uint64_t generation,
                          bool keep_first) {
  ForkSafeLock lock(mutex_);
  if (generation != generation_) return;
  const auto found =
      std::find_if(chunks_.begin(), chunks_.end(), [&](const auto& chunk) {
        return slot >= chunk->slots && slot < chunk->slots + kSlotsPerChunk;
      });
  Chunk& chunk = **found;
  chunk.free.push_back(slot);
  if (chunk.free.size() < kSlotsPerChunk) return;
  const bool keep = keep_first && found == chunks_.begin();
  if (!keep) {
    chunks_.erase(found);
  } else if (std::exchange(chunk.most_used, 0) > kFewSlots) {
    madvise(chunk.slots, kChunkBytes, MADV_REMOVE);
  }
}

void CrashArena::Forget() {
  ++generation_;
  // The child has no such mapping.
  for (const std::unique_ptr<Chunk>& chunk : chunks_) chunk->slots = nullptr;
  chunks_.clear();
}

}  // namespace mp::internal
