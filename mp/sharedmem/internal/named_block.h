#ifndef MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_
#define MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/sharedmem/internal/file_id.h"

// Blocks of shared memory that have a name: files in /dev/shm, as shm_open(3)
// and CPython's SharedMemory make them. Who removes them: block_registry.h.
//
// Threads: all of it is safe from any.
// Death:   a process killed at any step leaves either no name, or one that the
//          next look of any process of this user takes away.
namespace mp::internal {

struct NewBlock {
  int64_t size_bytes = 0;
  // What it begins with, the rest being zeros.
  absl::string_view contents = {};
  // Gets all its memory at once.
  bool reserve = false;
};

// Gives a new file, named or not, its size and contents.
//
// Errors:
//   kResourceExhausted  /dev/shm, or the machine with `reserve`, has no room
//                       for it, or this process none left for files so large.
absl::Status FillNewBlock(const Fd& fd, const NewBlock& what);

// Makes a block in /dev/shm that nobody can find yet.
//
// Errors: those of FillNewBlock(), and kResourceExhausted without descriptors.
absl::StatusOr<Fd> CreateNamelessBlock(const NewBlock& what);

// Gives it the first name of `next_name` that is free, one that this process
// owns from the first moment on if it is to be tracked. Looks for owners that
// have ended, before. Returns the name.
//
// Errors:
//   kAlreadyExists  they are all taken, or the one if there `is_one`.
//   and those of owning it.
absl::StatusOr<std::string> NameBlock(
    const Fd& fd, FileId id, bool track, bool is_one,
    const std::function<std::string()>& next_name);

struct NamedBlock {
  Fd fd;
  struct stat info;
};

// Looks for owners that have ended, and opens what has the name then.
//
// Errors:
//   kNotFound          there is none of that name.
//   kPermissionDenied  it is another user's.
//   kInvalidArgument   it is no block of memory.
absl::StatusOr<NamedBlock> OpenNamedBlock(const std::string& name,
                                          bool read_only);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_
