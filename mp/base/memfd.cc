#include "mp/base/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

}  // namespace

absl::StatusOr<Fd> CreateSealedMemfd(const char* name,
                                     absl::string_view contents) {
  Fd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.is_open()) return ErrnoStatus(errno, "memfd_create");
  MP_RETURN_IF_ERROR(WriteAll(fd.get(), contents));
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "fcntl(F_ADD_SEALS)");
  }
  return fd;
}

absl::StatusOr<std::string> ReadSealedMemfd(const Fd& fd, size_t max_bytes) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return absl::DataLossError(
        "the descriptor is not a memfd sealed against change");
  }
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "fstat");
  const size_t size = static_cast<size_t>(info.st_size);
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the memfd holds ", size, " bytes, the limit is ", max_bytes));
  }
  std::string contents(size, '\0');
  for (size_t filled = 0; filled < size;) {
    // The sender's descriptor shares our file offset, so it is not used.
    const ssize_t got = RetryOnEintr([&] {
      return pread(fd.get(), &contents[filled], size - filled, filled);
    });
    if (got < 0) return ErrnoStatus(errno, "pread");
    if (got == 0) return absl::DataLossError("the memfd ended early");
    filled += got;
  }
  return contents;
}

}  // namespace mp
