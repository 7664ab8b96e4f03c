#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_layout.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/format_head.h"
#include "mp/base/open_file.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// Where the bytes lie whose locks mean that a slot travels. Members lock
// others, from 2^40 on.
constexpr off_t kTransitBase = off_t{1} << 41;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

struct flock TransitOf(SlotIndex first, uint32_t count, short type) {
  struct flock bytes = {};
  bytes.l_type = type;
  bytes.l_whence = SEEK_SET;
  bytes.l_start = kTransitBase + first;
  bytes.l_len = count;
  return bytes;
}

absl::Status NotAnArena(absl::string_view why) {
  return absl::DataLossError(
      absl::StrCat("Arena::Attach: the descriptor is of no arena: ", why));
}

FormatHead OwnFormat() {
  return FormatHead::Of(kArenaMagic, kArenaVersion, sizeof(ArenaHead));
}

// The largest that RLIMIT_FSIZE allows. More would raise SIGXFSZ.
absl::StatusOr<size_t> AllowedBytes() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) {
    return ErrnoStatus(errno, "getrlimit(RLIMIT_FSIZE)");
  }
  if (limit.rlim_cur >= kMaxArenaBytes) return kMaxArenaBytes;
  if (limit.rlim_cur >= kMinArenaBytes) return std::bit_floor(limit.rlim_cur);
  return absl::ResourceExhaustedError(absl::StrCat(
      "Arena::Create: needs a file of ", kMinArenaBytes,
      " bytes, RLIMIT_FSIZE (ulimit -f) is ", limit.rlim_cur, " bytes"));
}

absl::StatusOr<char*> Map(int fd, size_t bytes) {
  void* const base =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base != MAP_FAILED) return static_cast<char*>(base);
  return ErrnoStatus(errno, absl::StrCat("mmap of an arena of ", bytes,
                                         " bytes (is there a ulimit -v?)"));
}

// Whether as much again could be mapped, which the program has better use for.
bool LeavesRoom(size_t bytes) {
  void* const more = mmap(nullptr, bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return more != MAP_FAILED && munmap(more, bytes) == 0;
}

// Makes the file as large as it can be mapped, `bytes` at most, without taking
// more than half of the address space that is left.
absl::StatusOr<std::pair<char*, size_t>> SizeAndMap(int fd, size_t bytes) {
  while (true) {
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
      return ErrnoStatus(errno, "ftruncate of an arena");
    }
    const absl::StatusOr<char*> base = Map(fd, bytes);
    const bool is_least = bytes == kMinArenaBytes;
    if (base.ok() && (is_least || LeavesRoom(bytes))) {
      return std::pair(*base, bytes);
    }
    if (is_least) return base.status();
    if (base.ok()) munmap(*base, bytes);
    bytes /= 2;
  }
}

void WriteHead(ArenaHead& head, size_t bytes) {
  head.format = OwnFormat();
  head.file_bytes = bytes;
  head.next_chunk = 1;
}

absl::Status CheckHead(const ArenaHead& head, size_t bytes) {
  MP_RETURN_IF_ERROR(
      CheckFormat(head.format, OwnFormat(), "Arena::Attach", "arena"));
  if (head.file_bytes == bytes) return absl::OkStatus();
  return NotAnArena("its head does not say how long it is");
}

}  // namespace

absl::StatusOr<ArenaFile> ArenaFile::Create() {
  MP_ASSIGN_OR_RETURN(const size_t allowed, AllowedBytes());
  Fd fd = Fd::AboveStdio(
      Fd(memfd_create("mp_arena", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (!fd.is_open()) return ErrnoStatus(errno, "memfd_create of an arena");
  MP_ASSIGN_OR_RETURN((const auto [base, bytes]),
                      SizeAndMap(fd.get(), allowed));
  ArenaFile file(std::move(fd), base, bytes);
  WriteHead(file.head(), bytes);
  if (fcntl(file.fd(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "fcntl(F_ADD_SEALS) of an arena");
  }
  return file;
}

absl::StatusOr<size_t> ArenaFile::CheckFile(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return NotAnArena("it is no memfd, or its size is not sealed");
  }
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat of an arena");
  const size_t bytes = static_cast<size_t>(info.st_size);
  if (bytes < kMinArenaBytes || bytes > kMaxArenaBytes ||
      bytes % kChunkBytes != 0) {
    return NotAnArena(absl::StrCat("it has ", bytes, " bytes"));
  }
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR ||
      (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return NotAnArena("it is read-only");
  }
  return bytes;
}

absl::StatusOr<ArenaFile> ArenaFile::Open(Fd fd) {
  MP_ASSIGN_OR_RETURN(const size_t bytes, CheckFile(fd.get()));
  MP_ASSIGN_OR_RETURN(char* const base, Map(fd.get(), bytes));
  ArenaFile file(std::move(fd), base, bytes);
  MP_RETURN_IF_ERROR(CheckHead(file.head(), bytes));
  return file;
}

ArenaFile::ArenaFile(Fd fd, char* base, size_t size_bytes)
    : fd_(std::move(fd)),
      identity_(fd_.get()),
      base_(base),
      size_bytes_(size_bytes) {}

ArenaFile::ArenaFile(ArenaFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      identity_(other.identity_),
      base_(std::exchange(other.base_, nullptr)),
      size_bytes_(other.size_bytes_) {}

ArenaFile::~ArenaFile() {
  if (base_ == nullptr) return;
  munmap(base_, size_bytes_);
  // Its number may be a stranger's by now.
  if (!IsOpen()) static_cast<void>(fd_.Release());
}

bool ArenaFile::IsOpen() const {
  if (identity_.IsOn(fd_.get())) return true;
  found_closed_.store(true, std::memory_order_relaxed);
  return false;
}

absl::StatusOr<Fd> ArenaFile::Reopen() const {
  if (IsOpen()) return ReopenMemory(fd_.get());
  return absl::FailedPreconditionError(
      "the arena's descriptor has been closed, by a program that closes what "
      "it does not know");
}

absl::StatusOr<Fd> ReopenMemory(int fd) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  Fd opened = Fd::AboveStdio(Fd(open(path.c_str(), O_RDWR | O_CLOEXEC)));
  if (opened.is_open()) return opened;
  if (errno == ENOENT) {
    return absl::FailedPreconditionError(absl::StrCat(
        "open(\"", path, "\"): shared memory needs /proc to be mounted"));
  }
  return ErrnoStatus(errno, absl::StrCat("open(\"", path, "\")"));
}

bool ArenaFile::IsInTransit(SlotIndex slot) const {
  if (!IsOpen()) return true;
  struct flock bytes = TransitOf(slot, 1, F_WRLCK);
  return fcntl(fd_.get(), F_OFD_GETLK, &bytes) != 0 || bytes.l_type != F_UNLCK;
}

absl::Status LockTransit(int description, SlotIndex first, uint32_t count) {
  struct flock bytes = TransitOf(first, count, F_RDLCK);
  if (fcntl(description, F_OFD_SETLK, &bytes) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "fcntl(F_OFD_SETLK) of an arena's slots");
}

void UnlockTransit(int description, SlotIndex first, uint32_t count) {
  struct flock bytes = TransitOf(first, count, F_UNLCK);
  fcntl(description, F_OFD_SETLK, &bytes);
}

}  // namespace mp::internal
