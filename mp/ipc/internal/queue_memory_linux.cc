#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/format_head.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_memory.h"

namespace mp::internal {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr uint64_t kWindows = kMaxSegments + 1;

absl::Status NotAQueue(absl::string_view why) {
  return absl::DataLossError(
      absl::StrCat("Queue: the descriptor is of no queue: ", why));
}

FormatHead OwnFormat() {
  return FormatHead::Of(kQueueMagic, kQueueVersion, sizeof(QueueHead));
}

// As large as RLIMIT_FSIZE allows. More would raise SIGXFSZ.
absl::StatusOr<uint64_t> AllowedWindow() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) {
    return ErrnoStatus(errno, "getrlimit(RLIMIT_FSIZE)");
  }
  const uint64_t most = limit.rlim_cur / kWindows;
  if (most >= kMaxWindowBytes) return kMaxWindowBytes;
  if (most >= kMinWindowBytes) return std::bit_floor(most);
  return absl::ResourceExhaustedError(
      absl::StrCat("Queue: needs a file of ", kMinWindowBytes * kWindows,
                   " bytes, most of it holes, and RLIMIT_FSIZE (ulimit -f) is ",
                   limit.rlim_cur, " bytes"));
}

absl::StatusOr<char*> MapFile(int fd, uint64_t bytes, int64_t offset) {
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_NORESERVE, fd, offset);
  if (base != MAP_FAILED) return static_cast<char*>(base);
  return ErrnoStatus(
      errno, absl::StrCat("Queue: mmap of ", bytes,
                          " bytes of its memory (is there a ulimit -v?)"));
}

absl::Status Allocate(int fd, int64_t offset, uint64_t bytes) {
  const int failed = RetryOnEintr([&] {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, offset,
                     static_cast<off_t>(bytes));
  });
  if (failed == 0) return absl::OkStatus();
  return ErrnoStatus(
      errno, absl::StrCat("Queue: fallocate of ", bytes, " bytes of memory"));
}

absl::Status CheckHead(const QueueHead& head, uint64_t window_bytes) {
  MP_RETURN_IF_ERROR(CheckFormat(head.format, OwnFormat(), "Queue", "queue"));
  if (head.window_bytes == window_bytes) return absl::OkStatus();
  return NotAQueue("its head does not say how long it is");
}

void WriteHead(QueueHead& head, uint64_t window_bytes) {
  head.format = OwnFormat();
  head.window_bytes = window_bytes;
  head.segments[0].bytes.store(kFirstSegmentBytes);
  head.segments[0].previous.store(kNoSegment);
}

// Returns how large its windows are.
absl::StatusOr<uint64_t> CheckFile(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return NotAQueue("it is no memfd, or its size is not sealed");
  }
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat of a queue");
  const uint64_t bytes = static_cast<uint64_t>(info.st_size);
  const uint64_t window = bytes / kWindows;
  if (bytes % kWindows != 0 || !std::has_single_bit(window) ||
      window < kMinWindowBytes || window > kMaxWindowBytes) {
    return NotAQueue(absl::StrCat("it has ", bytes, " bytes"));
  }
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR ||
      (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return NotAQueue("it is read-only");
  }
  return window;
}

}  // namespace

absl::StatusOr<std::unique_ptr<QueueMemory>> QueueMemory::Create() {
  MP_ASSIGN_OR_RETURN(const uint64_t window, AllowedWindow());
  Fd fd = Fd::AboveStdio(
      Fd(memfd_create("mp_queue", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (!fd.is_open()) return ErrnoStatus(errno, "Queue: memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(window * kWindows)) != 0) {
    return ErrnoStatus(errno, "Queue: ftruncate");
  }
  // What all use, without the places for members, which come as they come.
  MP_RETURN_IF_ERROR(Allocate(fd.get(), 0, offsetof(QueueHead, members)));
  MP_RETURN_IF_ERROR(
      Allocate(fd.get(), static_cast<int64_t>(window), kFirstSegmentBytes));
  MP_ASSIGN_OR_RETURN(char* const base,
                      MapFile(fd.get(), sizeof(QueueHead), 0));
  std::unique_ptr<QueueMemory> memory(new QueueMemory(
      std::move(fd), reinterpret_cast<QueueHead*>(base), window));
  WriteHead(memory->head(), window);
  if (fcntl(memory->fd(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "Queue: fcntl(F_ADD_SEALS)");
  }
  return memory;
}

absl::StatusOr<std::unique_ptr<QueueMemory>> QueueMemory::Open(Fd fd) {
  MP_ASSIGN_OR_RETURN(const uint64_t window, CheckFile(fd.get()));
  MP_ASSIGN_OR_RETURN(char* const base,
                      MapFile(fd.get(), sizeof(QueueHead), 0));
  std::unique_ptr<QueueMemory> memory(new QueueMemory(
      std::move(fd), reinterpret_cast<QueueHead*>(base), window));
  MP_RETURN_IF_ERROR(CheckHead(memory->head(), window));
  return memory;
}

QueueMemory::~QueueMemory() {
  for (std::atomic<Mapping*>& newest : mappings_) {
    for (Mapping* mapping = newest.load(); mapping != nullptr;) {
      munmap(mapping->base, mapping->bytes);
      delete std::exchange(mapping, mapping->before);
    }
  }
  munmap(head_, sizeof(QueueHead));
  // Its number may be a stranger's by now.
  if (!identity_.IsOn(fd_.get())) static_cast<void>(fd_.Release());
}

// Nothing that was mapped goes: in a hostile file the size may change while
// another thread uses the segment.
absl::Status QueueMemory::Map(uint32_t segment, Segment& memory) {
  if (segment >= kMaxSegments) {
    return absl::DataLossError(
        absl::StrCat("Queue: its memory is damaged: segment ", segment, " of ",
                     kMaxSegments));
  }
  const uint64_t bytes =
      head_->segments[segment].bytes.load(std::memory_order_relaxed);
  if (!IsSize(bytes) || bytes > window_bytes_) {
    return absl::DataLossError(absl::StrCat(
        "Queue: its memory is damaged: a segment of ", bytes, " bytes"));
  }
  Mapping* newest = mappings_[segment].load(std::memory_order_acquire);
  for (Mapping* old = newest; old != nullptr; old = old->before) {
    if (old->bytes < bytes) continue;
    memory = {old->base, bytes};
    return absl::OkStatus();
  }
  MP_RETURN_IF_ERROR(CheckOpen());
  MP_ASSIGN_OR_RETURN(char* const base,
                      MapFile(fd(), bytes, OffsetOf(segment)));
  auto* const mapping = new Mapping{base, bytes, newest};
  while (!mappings_[segment].compare_exchange_weak(mapping->before, mapping)) {
  }
  memory = {base, bytes};
  return absl::OkStatus();
}

absl::Status QueueMemory::CheckOpen() const {
  if (identity_.IsOn(fd())) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "Queue: the descriptor of its memory has been closed, by a program that "
      "closes what it does not know");
}

absl::Status QueueMemory::Back(uint32_t segment, uint64_t bytes) {
  MP_RETURN_IF_ERROR(CheckOpen());
  return Allocate(fd(), OffsetOf(segment), bytes);
}

void QueueMemory::GiveBack(uint32_t segment) {
  if (!CheckOpen().ok()) return;
  fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, OffsetOf(segment),
            static_cast<off_t>(window_bytes_));
}

}  // namespace mp::internal
