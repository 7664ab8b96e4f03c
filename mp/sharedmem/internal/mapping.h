#ifndef MP_SHAREDMEM_INTERNAL_MAPPING_H_
#define MP_SHAREDMEM_INTERNAL_MAPPING_H_

#include <cstddef>

#include "absl/status/statusor.h"

namespace mp::internal {

// A shared mapping of a whole file.
//
// Owns: the mapping; moves, never copies.
class Mapping {
 public:
  // Maps `size_bytes` of `fd`, with huge pages where they fit and are allowed.
  //
  // Errors:
  //   kResourceExhausted  no address space (ulimit -v), or too many mappings.
  //   kPermissionDenied   the file cannot be written.
  // Source: man 2 mmap; man 2 madvise, MADV_HUGEPAGE.
  static absl::StatusOr<Mapping> Create(int fd, size_t size_bytes,
                                        bool read_only);

  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping();

  char* begin() const { return begin_; }
  size_t size() const { return size_; }

 private:
  Mapping(char* begin, size_t size) : begin_(begin), size_(size) {}

  char* begin_;
  size_t size_;
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_MAPPING_H_
