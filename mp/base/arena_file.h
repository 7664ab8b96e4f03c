#ifndef MP_BASE_ARENA_FILE_H_
#define MP_BASE_ARENA_FILE_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_layout.h"
#include "mp/base/fd.h"
#include "mp/base/open_file.h"

namespace mp::internal {

// The file of an arena, in memory.
//
// Owns:    a descriptor, which a program may close that closes all it does not
//          know, and the mapping.
// Threads: safe from any.
class ArenaFile {
 public:
  // Makes one, as large as this process's limits let it be.
  //
  // Errors: see Arena::Create().
  static absl::StatusOr<ArenaFile> Create();

  // Maps one that may come from a stranger.
  //
  // Errors: see Arena::Attach().
  static absl::StatusOr<ArenaFile> Open(Fd fd);

  // Whether `fd` is open on a file that may be one, whose size cannot change.
  // Returns its size.
  static absl::StatusOr<size_t> CheckFile(int fd);

  ArenaFile(ArenaFile&& other) noexcept;
  ArenaFile& operator=(ArenaFile&&) = delete;
  ~ArenaFile();

  ArenaHead& head() const { return *reinterpret_cast<ArenaHead*>(base_); }
  char* base() const { return base_; }
  size_t size_bytes() const { return size_bytes_; }
  uint32_t chunks() const {
    return static_cast<uint32_t>(size_bytes_ / kChunkBytes);
  }

  int fd() const { return fd_.get(); }
  // Whether the descriptor is still what it was.
  bool IsOpen() const;
  // Whether IsOpen() has ever said no. No system call.
  bool was_found_closed() const {
    return found_closed_.load(std::memory_order_relaxed);
  }
  // Whether another one is open on the same file.
  bool IsOn(int fd) const { return identity_.IsOn(fd); }

  // ReopenMemory() of the descriptor.
  //
  // Errors: see Slot::Ship().
  absl::StatusOr<Fd> Reopen() const;

  // Whether anybody has LockTransit() of a slot. True if that cannot be told.
  bool IsInTransit(SlotIndex slot) const;

 private:
  ArenaFile(Fd fd, char* base, size_t size_bytes);

  Fd fd_;
  const OpenFile identity_;
  mutable std::atomic<bool> found_closed_{false};
  char* base_;
  size_t size_bytes_;
};

// Returns another descriptor of a file in memory, which shares no locks with
// the first.
absl::StatusOr<Fd> ReopenMemory(int fd);

// Keeps `count` slots from being freed for as long as `description`, which came
// from Reopen(), is open in any process or message.
absl::Status LockTransit(int description, SlotIndex first, uint32_t count);

// Takes that back.
void UnlockTransit(int description, SlotIndex first, uint32_t count);

}  // namespace mp::internal

#endif  // MP_BASE_ARENA_FILE_H_
