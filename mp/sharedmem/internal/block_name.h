#ifndef MP_SHAREDMEM_INTERNAL_BLOCK_NAME_H_
#define MP_SHAREDMEM_INTERNAL_BLOCK_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What blocks of shared memory are called, by CPython's rules.
namespace mp::internal {

// Returns `name` without slashes in front.
//
// Errors:
//   kInvalidArgument  it is empty, longer than 255 bytes, "." or "..", or has a
//                     NUL or a slash in it.
// Source: man 3 shm_open; CPython shared_memory.SharedMemory.name.
absl::StatusOr<std::string> CheckedBlockName(absl::string_view name);

// Returns a name that is hardly in use: "psm_" and 8 hexadecimal digits.
std::string NewBlockName();

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_BLOCK_NAME_H_
