#ifndef MP_SHAREDMEM_INTERNAL_FILL_FILE_H_
#define MP_SHAREDMEM_INTERNAL_FILL_FILE_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mp::internal {

// Copies `bytes` into a file in memory and its mapping at `memory`, from
// `offset` on: pages that are there by memcpy(), others by pwrite(2), which
// neither clears them nor faults, and can be refused.
//
// Where the file cannot be written any more, but its mapping can, all of it
// goes by memcpy().
//
// Errors:
//   kResourceExhausted  there is no room for a page. What is before it is done.
// Source: man 2 lseek, SEEK_HOLE.
absl::Status FillFile(int fd, char* memory, size_t offset,
                      absl::string_view bytes);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_FILL_FILE_H_
