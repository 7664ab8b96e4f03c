#include "mp/testing/ballast.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"

namespace mp::testing {

absl::StatusOr<Ballast> Ballast::Create(size_t size_bytes) {
  void* const memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return ErrnoStatus(errno, absl::StrCat("mmap(", size_bytes, ")"));
  }
  // Where the kernel knows no huge pages there is nothing to refuse.
  madvise(memory, size_bytes, MADV_NOHUGEPAGE);
  std::memset(memory, 1, size_bytes);
  return Ballast(memory, size_bytes);
}

Ballast::Ballast(Ballast&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      size_bytes_(other.size_bytes_) {}

Ballast& Ballast::operator=(Ballast&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Ballast::~Ballast() {
  if (memory_ != nullptr) munmap(memory_, size_bytes_);
}

}  // namespace mp::testing
