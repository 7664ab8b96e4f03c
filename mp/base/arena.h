#ifndef MP_BASE_ARENA_H_
#define MP_BASE_ARENA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_map.h"
#include "mp/base/fd.h"
#include "mp/base/members.h"

namespace mp {

class Slot;

// Memory that processes share in small pieces, and a record of which of them
// use which piece, so that each goes with its last user, however that ended.
//
// Example:
//   MP_ASSIGN_OR_RETURN(Arena arena, Arena::Default());
//   MP_ASSIGN_OR_RETURN(Slot slot, arena.Allocate(sizeof(Counter)));
//   auto* counter = static_cast<Counter*>(slot.data());  // zeroed
//   MP_ASSIGN_OR_RETURN(Fd transit, slot.Ship());
//   // In another process, which was sent the descriptor and slot.offset():
//   MP_ASSIGN_OR_RETURN(Slot same, Slot::Receive(std::move(transit), offset));
//
// Shape:   a sealed memfd of at most 256 MiB, which takes up memory as it is
//          used, laid out as in docs/arena_format.md. Not /dev/shm.
// Owns:    a count of a mapping and two descriptors, one of them for a fork
//          when there is no other left; each file is mapped once in a process.
//          The memory goes with the last of all processes.
// Threads: as a std::shared_ptr: each of several copies may be used by another.
// Fork:    a child has all that its parent had, but makes a Default() of its
//          own.
// Death:   a process can be killed anywhere; what it used is free when the
//          memory is needed.
// Source:  CPython multiprocessing.heap. Differs: the memory has no name, and
//          does not depend on the process that made it.
class Arena {
 public:
  // The most that Allocate() gives at once. What is larger deserves a file of
  // its own.
  static constexpr size_t kMaxSlotBytes = internal::kMaxSlotBytes;

  // None: only for assigning to it.
  Arena() = default;

  // Makes a new one. It is smaller than 256 MiB if RLIMIT_FSIZE or RLIMIT_AS
  // says so; of the latter it leaves half, unless that is less than 1 MiB.
  //
  // Errors:
  //   kResourceExhausted  no descriptor or memory left, or not even 1 MiB is
  //                       allowed.
  static absl::StatusOr<Arena> Create();

  // The one that this process makes its objects in, made at the first use. As
  // soon as one is nearly full it is another.
  //
  // Errors: those of Create().
  static absl::StatusOr<Arena> Default();

  // The one that `fd` is open on, which another process made.
  //
  // Errors:
  //   kFailedPrecondition  made by a program that was built in another way; the
  //                        message says how.
  //   kDataLoss            it is no arena.
  //   kResourceExhausted   no memory or address space left.
  static absl::StatusOr<Arena> Attach(Fd fd);

  // The one of an ArenaTransit, of which the caller keeps the descriptor.
  //
  // Errors: those of Attach(), and of Slot::Ship().
  static absl::StatusOr<Arena> AttachTransit(const Fd& transit);

  // Says to those that share arenas with this process that its end, which is
  // near, is one in order: Members::Leave() of each.
  static void LeaveAll();

  // Returns `bytes` of zeros, at an address that is a multiple of 64. In warm
  // memory without a system call.
  //
  // Errors:
  //   kInvalidArgument     0, or more than kMaxSlotBytes.
  //   kResourceExhausted   the arena is full, or 4096 processes share it, or
  //                        there are no descriptors left for this one to be one
  //                        of them.
  //   kFailedPrecondition  this process has closed descriptors that it did not
  //                        know, before its first use of the arena.
  absl::StatusOr<Slot> Allocate(size_t bytes);

  // Which processes share it.
  Members& members() const { return map_->members(); }

  // The file, for one that sends it.
  int fd() const { return map_->fd(); }

  size_t size_bytes() const { return map_->size_bytes(); }

  friend bool operator==(const Arena&, const Arena&) = default;

  // For what mp makes of arenas.
  explicit Arena(std::shared_ptr<internal::ArenaMap> map)
      : map_(std::move(map)) {}
  internal::ArenaMap& map() const { return *map_; }

 private:
  friend class Slot;

  std::shared_ptr<internal::ArenaMap> map_;
};

// One piece of an arena, as this process uses it. The last Slot of the last
// process that has one frees the piece.
//
// Shape:   a value of 32 bytes. One without data() has only that.
// Threads: as a std::shared_ptr.
// Fork:    a child of fork(2) uses what its parent used, also where there are
//          no descriptors left. Only if a program has closed those of the arena
//          too, the parent does not give the piece back before its end.
// Death:   pieces that only dead processes used are found when an arena would
//          grow.
class Slot {
 public:
  // None: data() is null.
  Slot() = default;
  Slot(const Slot& other)
      : arena_(other.arena_), use_(other.use_), data_(other.data_) {
    if (use_ != nullptr) use_->count.fetch_add(1, std::memory_order_relaxed);
  }
  Slot(Slot&& other) noexcept
      : arena_(std::move(other.arena_)),
        use_(std::exchange(other.use_, nullptr)),
        data_(std::exchange(other.data_, nullptr)) {}
  Slot& operator=(Slot other) noexcept {
    std::swap(arena_, other.arena_);
    std::swap(use_, other.use_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Slot() {
    if (use_ != nullptr) Drop();
  }

  void* data() const { return data_; }

  // At least what was asked for.
  size_t size() const;

  const Arena& arena() const { return arena_; }

  // Where data() lies in the arena's file.
  uint64_t offset() const;

  // Returns a descriptor of the arena that keeps the slot for the one that gets
  // it, even if this process gives it up meanwhile. If it is never read, it
  // keeps nothing.
  //
  // Errors:
  //   kResourceExhausted   no descriptors left.
  //   kFailedPrecondition  there is no /proc, or this process has closed the
  //                        arena's descriptor.
  absl::StatusOr<Fd> Ship() const;

  // What was shipped. `offset` and `transit` may be forged.
  //
  // Errors:
  //   kDataLoss           there is no slot there.
  //   and those of Arena::Attach() and Allocate().
  static absl::StatusOr<Slot> Receive(Fd transit, uint64_t offset);

  // The same where `transit`, open until after the call, is one of several
  // slots of `arena`.
  static absl::StatusOr<Slot> Receive(const Arena& arena, uint64_t offset);

  // For ArenaTransit: says that it travels with others.
  void NoteShipped() const;

  friend bool operator==(const Slot& a, const Slot& b) {
    return a.data_ == b.data_;
  }

 private:
  friend class Arena;
  Slot(Arena arena, internal::SlotUse* use, void* data)
      : arena_(std::move(arena)), use_(use), data_(data) {}

  void Drop();

  Arena arena_;
  internal::SlotUse* use_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace mp

#endif  // MP_BASE_ARENA_H_
