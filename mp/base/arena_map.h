#ifndef MP_BASE_ARENA_MAP_H_
#define MP_BASE_ARENA_MAP_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/arena_slots.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/members.h"

namespace mp::internal {

// How this process uses a slot.
struct SlotUse {
  std::atomic<uint32_t> count{0};  // how many Slots there are
  // ArenaMap::forks_ at the time, if it was made here and has not been shipped.
  std::atomic<uint32_t> alone_since{0};
  bool is_holder = false;  // this process is one of the slot's holders
};

// What a Slot refers to.
struct SlotRef {
  SlotUse* use;
  char* data;
};

// An arena in this process: what Arena and Slot are handles of.
//
// Owns:    the mapping.
// Threads: safe from any.
// Fork:    the registry in arena_registry.h calls BeforeFork() and what follows
//          it.
class ArenaMap {
 public:
  // For the registry, which knows all of them.
  static absl::StatusOr<std::shared_ptr<ArenaMap>> Make(ArenaFile file);

  ArenaMap(const ArenaMap&) = delete;
  ArenaMap& operator=(const ArenaMap&) = delete;
  ~ArenaMap();

  // What Arena and Slot say of them. The use is counted once for the caller.
  absl::StatusOr<SlotRef> Allocate(size_t bytes);
  absl::StatusOr<SlotRef> Receive(uint64_t offset);

  // The last Slot of this process may have gone.
  void Drop(const char* data);

  // Of the slot whose bytes begin at `data`.
  SlotPlace PlaceOf(const char* data);
  size_t SlotSize(const char* data) {
    return SlotBytes(PlaceOf(data).size_class);
  }

  // Frees all that only dead processes use, as it does itself where it would
  // grow.
  void Sweep() { slots_.Sweep(); }

  // Says that a slot is about to travel. Its transit is locked already.
  static void NoteShipped(const SlotPlace& slot, SlotUse& use);

  Members& members() const { return *members_; }
  const ArenaFile& file() const { return file_; }
  int fd() const { return file_.fd(); }
  char* base() const { return file_.base(); }
  size_t size_bytes() const { return file_.size_bytes(); }

  // Whether it has room for slots of any size, and can be sent to others.
  bool IsFitForMore() const;

  // In this order, in the process that forks, and in both afterwards.
  void BeforeFork() ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex_);
  void AfterForkInParent() ABSL_UNLOCK_FUNCTION(mutex_);
  void AfterForkInChild() ABSL_UNLOCK_FUNCTION(mutex_);

 private:
  friend class ArenaRegistry;

  // Where to look for a free slot of a size.
  struct Shelf {
    std::vector<SlotIndex> freed;  // by this process, lately
    uint32_t chunk = 0;
    uint32_t place = 0;  // the next one there
  };

  ArenaMap(ArenaFile file, std::unique_ptr<Members> members);

  absl::StatusOr<SlotPlace> Take(uint32_t size_class, MemberId self)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeFreed(Shelf& shelf, MemberId self, SlotPlace& slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeNext(Shelf& shelf, MemberId self, SlotPlace& slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t FindChunk(uint32_t size_class, uint32_t after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status BeHolder(const SlotPlace& slot, MemberId self)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveUp(const SlotPlace& slot, SlotUse& use)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  SlotUse& UseOf(const SlotPlace& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status BeHolderOfAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Fd TakeSpare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RenewSpare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ArenaFile file_;
  const std::unique_ptr<Members> members_;
  ArenaSlots slots_;

  ForkSafeMutex mutex_;
  std::array<Shelf, kSizeClasses> shelves_ ABSL_GUARDED_BY(mutex_);
  // Of each chunk, those of its slots.
  std::array<std::unique_ptr<SlotUse[]>, kMaxChunks> uses_
      ABSL_GUARDED_BY(mutex_);
  uint32_t held_ ABSL_GUARDED_BY(mutex_) = 0;  // slots that it is a holder of
  uint32_t forks_ ABSL_GUARDED_BY(mutex_) = 1;
  // While it forks, what keeps all slots for the child.
  Fd fork_transit_ ABSL_GUARDED_BY(mutex_);
  // For that, when there is no other descriptor left.
  Fd spare_ ABSL_GUARDED_BY(mutex_);
  // It has forked without that, so that it stays a holder of all until its end.
  bool keeps_all_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<ArenaMap> kept_ ABSL_GUARDED_BY(mutex_);

  // In the registry.
  std::weak_ptr<ArenaMap> self_;
  ArenaMap* next_ = nullptr;
  ArenaMap* previous_ = nullptr;
};

}  // namespace mp::internal

#endif  // MP_BASE_ARENA_MAP_H_
