#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/sharedmem/internal/block_lock.h"

namespace mp::internal {
namespace {

// A lock does not need a byte to be there.
constexpr off_t kOwnerByte = off_t{1} << 61;
constexpr off_t kNameByte = kOwnerByte + 1;
constexpr size_t kPageBytes = 4096;  // of the file, never touched

struct flock LockOf(off_t byte, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

}  // namespace

bool BlockHasOwner(const Fd& block) {
  struct flock lock = LockOf(kOwnerByte, F_WRLCK);
  if (fcntl(block.get(), F_OFD_GETLK, &lock) != 0) return true;
  return lock.l_type != F_UNLCK;
}

absl::StatusOr<OwnerLock> OwnerLock::Take(const Fd& description) {
  // A lock to read, which several owners have at once.
  struct flock lock = LockOf(kOwnerByte, F_RDLCK);
  if (fcntl(description.get(), F_OFD_SETLK, &lock) != 0) {
    return ErrnoStatus(errno, "SharedMemory: fcntl(F_OFD_SETLK)");
  }
  void* const page =
      mmap(nullptr, kPageBytes, PROT_NONE, MAP_SHARED, description.get(), 0);
  if (page == MAP_FAILED) {
    return ErrnoStatus(errno, "SharedMemory: mmap of an owner's lock");
  }
  OwnerLock owner(page);
  if (madvise(page, kPageBytes, MADV_DONTFORK) != 0) {
    return ErrnoStatus(errno, "SharedMemory: madvise(MADV_DONTFORK)");
  }
  return owner;
}

OwnerLock::OwnerLock(OwnerLock&& other) noexcept
    : page_(std::exchange(other.page_, nullptr)) {}

OwnerLock& OwnerLock::operator=(OwnerLock&& other) noexcept {
  std::swap(page_, other.page_);
  return *this;
}

OwnerLock::~OwnerLock() {
  if (page_ != nullptr) munmap(page_, kPageBytes);
}

absl::StatusOr<NameLock> NameLock::Take(const Fd& description, int tries) {
  while (true) {
    struct flock lock = LockOf(kNameByte, F_WRLCK);
    if (fcntl(description.get(), F_OFD_SETLK, &lock) == 0) {
      return NameLock(description.get());
    }
    if (errno != EAGAIN && errno != EACCES) {
      return ErrnoStatus(errno, "SharedMemory: fcntl(F_OFD_SETLK)");
    }
    if (--tries < 0) {
      return absl::UnavailableError(
          "SharedMemory: another process is about to change the name's owner");
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
}

NameLock::NameLock(NameLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

NameLock::~NameLock() {
  if (fd_ < 0) return;
  // By hand, as a child forked meanwhile has the description too.
  struct flock lock = LockOf(kNameByte, F_UNLCK);
  fcntl(fd_, F_OFD_SETLK, &lock);
}

}  // namespace mp::internal
