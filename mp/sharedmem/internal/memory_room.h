#ifndef MP_SHAREDMEM_INTERNAL_MEMORY_ROOM_H_
#define MP_SHAREDMEM_INTERNAL_MEMORY_ROOM_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

// How much memory there is before the kernel kills somebody for it.
namespace mp::internal {

struct MemoryRoom {
  // Bytes that may be taken, less a margin: a 32nd of the limit's whole, at
  // most 32 MiB, stays with the others.
  int64_t bytes = 0;
  // What limits it: "MemAvailable", or the folder of a cgroup.
  std::string limit;
};

// Looks at /proc/meminfo and at the cgroups of this process, versions 1 and 2,
// which are below `root`. What cannot be read does not limit.
//
// Source: man 5 proc; the kernel's Documentation/admin-guide/cgroup-v2.rst,
// "Memory Interface Files", and cgroup-v1/memory.rst.
MemoryRoom FindMemoryRoom(const std::string& root = "");

// Whether a file may have so many bytes: a larger one would raise SIGXFSZ.
//
// Errors:
//   kResourceExhausted  RLIMIT_FSIZE is less.
// Source: man 2 setrlimit.
absl::Status CheckFileLimit(int64_t size_bytes);

// Whether a file, or one beside it, may have so many bytes: a larger one would
// raise SIGXFSZ, or SIGBUS when it is touched.
//
// Errors:
//   kResourceExhausted  RLIMIT_FSIZE, or the space that the file system of `fd`
//                       has left, is less.
// Source: man 2 setrlimit; man 3 fstatvfs.
absl::Status CheckFileMayGrow(int fd, int64_t from_bytes, int64_t to_bytes);

// Gives a file all pages that it lacks, in steps, and stops while there is
// still some room.
//
// Errors:
//   kResourceExhausted  there is not so much; what was got stays.
absl::Status AllocatePages(int fd, int64_t size_bytes);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_MEMORY_ROOM_H_
