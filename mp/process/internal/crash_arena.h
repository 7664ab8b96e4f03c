#ifndef MP_PROCESS_INTERNAL_CRASH_ARENA_H_
#define MP_PROCESS_INTERNAL_CRASH_ARENA_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/open_file.h"
#include "mp/process/internal/crash_slot.h"

namespace mp::internal {

// The way to one slot, for the process that is to write there.
struct CrashSlotTicket {
  Fd memory;
  uint64_t offset = 0;  // in bytes
};

// The right to one slot, until the object goes away: then it is as if it had
// never been taken, and a memfd made for it goes too.
class CrashSlotLease {
 public:
  CrashSlotLease() = default;
  CrashSlotLease(CrashSlotLease&& other) noexcept;
  CrashSlotLease& operator=(CrashSlotLease&& other) noexcept;
  ~CrashSlotLease() { Undo(); }

  // Returns nullptr if this is a lease of nothing.
  const CrashSlot* slot() const { return slot_; }

  // Errors:
  //   kResourceExhausted  no descriptor left.
  absl::StatusOr<CrashSlotTicket> MakeTicket() const;

  // Lets the process that has the slot begin: AwaitStarter(),
  // StarterLetsBegin().
  void LetBegin(pid_t process);

  // Gives the slot back now, for the next one.
  void GiveBack();

  // Never gives the slot back: somebody may still write there.
  void Leak() { slot_ = nullptr; }

 private:
  friend class CrashArena;

  void Undo();

  CrashSlot* slot_ = nullptr;
  int memory_ = -1;  // a descriptor of the arena's
  uint64_t offset_ = 0;
  uint64_t generation_ = 0;
  bool made_memory_ = false;
};

// The crash slots of all children of this process.
//
// Shape:   memfds of 256 slots each, sealed against shrinking, so that nobody
//          who has one can hurt us by that. The first stays, others go when
//          they are empty.
// Threads: safe from any.
// Fork:    a child has no slots of its parent's but its own, by a ticket.
class CrashArena {
 public:
  static CrashArena& Get();

  // Returns a slot with nothing in it.
  //
  // Errors:
  //   kResourceExhausted  no memory or no descriptor left.
  absl::StatusOr<CrashSlotLease> Take();

  // In a forked child: the slots are those of somebody else's children.
  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  static constexpr size_t kSlotsPerChunk = 256;

 private:
  friend class CrashSlotLease;

  struct Chunk {
    Chunk(Fd memory, CrashSlot* slots);
    ~Chunk();
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;

    bool MemoryIsOurs() const { return file.IsOn(memory.get()); }

    Fd memory;
    OpenFile file;
    CrashSlot* slots;  // nullptr where they are not mapped
    std::vector<CrashSlot*> free;
    // How many slots were in use at once since memory was last given back.
    size_t most_used = 0;
  };

  static absl::StatusOr<std::unique_ptr<Chunk>> MakeChunk();
  absl::StatusOr<Chunk*> ChunkWithRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(CrashSlot* slot, uint64_t generation, bool keep_first);

  ForkSafeMutex mutex_;
  std::vector<std::unique_ptr<Chunk>> chunks_ ABSL_GUARDED_BY(mutex_);
  // How often a fork has made the slots somebody else's.
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CRASH_ARENA_H_
