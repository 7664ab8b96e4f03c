#ifndef MP_BASE_MEMFD_H_
#define MP_BASE_MEMFD_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"

namespace mp {

// Returns an anonymous file that holds `contents` and can no longer change.
// The kernel frees it with its last descriptor. `name` is for /proc only.
//
// Errors:
//   kResourceExhausted  no memory or no descriptor left.
// Source: man 2 memfd_create; man 2 fcntl, "File Sealing".
absl::StatusOr<Fd> CreateSealedMemfd(const char* name,
                                     absl::string_view contents);

// Returns the contents of such a file, which may come from a stranger.
//
// Errors:
//   kDataLoss           it is no memfd, or one that may still change.
//   kResourceExhausted  it is longer than `max_bytes`.
absl::StatusOr<std::string> ReadSealedMemfd(const Fd& fd, size_t max_bytes);

}  // namespace mp

#endif  // MP_BASE_MEMFD_H_
