#ifndef MP_BASE_ARENA_TRANSIT_H_
#define MP_BASE_ARENA_TRANSIT_H_

#include <bitset>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena.h"
#include "mp/base/arena_layout.h"
#include "mp/base/fd.h"

namespace mp {

// Slots of one arena on their way to another process, all of them with one
// descriptor.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto transit, ArenaTransit::Begin(lock.arena()));
//   MP_RETURN_IF_ERROR(transit.Add(lock));
//   MP_RETURN_IF_ERROR(transit.Add(value));
//   Send(transit.fd(), {lock.offset(), value.offset()});
//
// What is added is kept until the last copy of the descriptor is closed, in
// whatever process or unread message it is.
//
// Owns:    the descriptor.
// Threads: not safe.
// Source:  man 2 fcntl, "Open file description locks".
class ArenaTransit {
 public:
  // Errors: see Slot::Ship().
  static absl::StatusOr<ArenaTransit> Begin(const Arena& arena);

  // Adds a slot of that arena.
  //
  // Errors:
  //   kResourceExhausted  the kernel has no memory for another lock.
  absl::Status Add(const Slot& slot);

  const Fd& fd() const { return fd_; }
  Fd Release() && { return std::move(fd_); }

 private:
  // The kernel looks through all of a file's locks for each: beyond this many,
  // whole chunks are locked. That only means that what lies beside a slot is
  // freed later.
  static constexpr int kMaxSingleLocks = 16;

  explicit ArenaTransit(Fd fd) : fd_(std::move(fd)) {}

  absl::Status Lock(internal::SlotIndex slot);

  Fd fd_;
  int single_locks_ = 0;
  std::bitset<internal::kMaxChunks> locked_chunks_;
};

}  // namespace mp

#endif  // MP_BASE_ARENA_TRANSIT_H_
