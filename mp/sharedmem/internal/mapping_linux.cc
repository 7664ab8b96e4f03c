#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/sharedmem/internal/mapping.h"

namespace mp::internal {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

absl::Status MappingError(int error, size_t size_bytes) {
  const std::string what =
      absl::StrCat("SharedMemory: mmap of ", size_bytes, " bytes");
  if (error == EPERM || error == EACCES) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, ": the block can only be read"));
  }
  absl::Status status = ErrnoStatus(error, what);
  if (error != ENOMEM && error != EOVERFLOW) return status;
  return absl::ResourceExhaustedError(
      absl::StrCat(status.message(), "; see RLIMIT_AS (ulimit -v) and ",
                   "/proc/sys/vm/max_map_count"));
}

}  // namespace

absl::StatusOr<Mapping> Mapping::Create(int fd, size_t size_bytes,
                                        bool read_only) {
  const int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const begin = mmap(nullptr, size_bytes, protection, MAP_SHARED, fd, 0);
  if (begin == MAP_FAILED) return MappingError(errno, size_bytes);
  // A kernel that is set up to use none refuses, which is fine.
  if (size_bytes >= kHugePageBytes) madvise(begin, size_bytes, MADV_HUGEPAGE);
  return Mapping(static_cast<char*>(begin), size_bytes);
}

Mapping::Mapping(Mapping&& other) noexcept
    : begin_(std::exchange(other.begin_, nullptr)), size_(other.size_) {}

Mapping::~Mapping() {
  if (begin_ != nullptr) munmap(begin_, size_);
}

}  // namespace mp::internal
