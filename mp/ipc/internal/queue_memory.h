#ifndef MP_IPC_INTERNAL_QUEUE_MEMORY_H_
#define MP_IPC_INTERNAL_QUEUE_MEMORY_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/open_file.h"
#include "mp/ipc/internal/queue_layout.h"

namespace mp::internal {

// The file that a queue lies in, and what of it this process has mapped.
//
// Owns:    the descriptor and the mappings.
// Threads: safe from any; what may be done to a segment depends on the locks.
// Fork:    a child has what its parent had mapped.
// Source:  man 2 memfd_create; man 2 fallocate.
class QueueMemory {
 public:
  // Makes a file with a head, of which the sizes are filled in, and the first
  // segment. It cannot change its size any more.
  //
  // Errors:
  //   kResourceExhausted  no memory or descriptor left, or RLIMIT_FSIZE is too
  //                       low.
  static absl::StatusOr<std::unique_ptr<QueueMemory>> Create();

  // Errors:
  //   kFailedPrecondition  made by a program that was built in another way.
  //   kDataLoss            it is no queue.
  //   kResourceExhausted   no address space left.
  static absl::StatusOr<std::unique_ptr<QueueMemory>> Open(Fd fd);

  QueueMemory(const QueueMemory&) = delete;
  QueueMemory& operator=(const QueueMemory&) = delete;
  ~QueueMemory();

  QueueHead& head() const { return *head_; }
  int fd() const { return fd_.get(); }
  uint64_t window_bytes() const { return window_bytes_; }

  // A segment, where this process sees it: its capacity is a power of two.
  struct Segment {
    char* base;
    uint64_t bytes;

    char* At(uint64_t position) const {
      return base + (position & (bytes - 1));
    }
    // From a position to the end of the segment.
    uint64_t Left(uint64_t position) const {
      return bytes - (position & (bytes - 1));
    }
  };

  // Errors:
  //   kDataLoss           there is none of this number.
  //   kResourceExhausted  no address space left (ulimit -v).
  absl::Status Find(uint32_t segment, Segment& memory) {
    if (segment < kMaxSegments) [[likely]] {
      const Mapping* const mapping =
          mappings_[segment].load(std::memory_order_acquire);
      memory.bytes =
          head_->segments[segment].bytes.load(std::memory_order_relaxed);
      if (mapping != nullptr && memory.bytes <= mapping->bytes &&
          IsSize(memory.bytes)) [[likely]] {
        memory.base = mapping->base;
        return absl::OkStatus();
      }
    }
    return Map(segment, memory);
  }

  // Has the system set memory aside for a segment of `bytes`, so that writing
  // to it cannot fail.
  //
  // Errors:
  //   kResourceExhausted  there is not that much.
  absl::Status Back(uint32_t segment, uint64_t bytes);

  // Returns all memory of a segment to the system.
  void GiveBack(uint32_t segment);

 private:
  // Once made, it stays: another thread may look at it.
  struct Mapping {
    char* base;
    uint64_t bytes;
    Mapping* before;
  };

  QueueMemory(Fd fd, QueueHead* head, uint64_t window_bytes)
      : fd_(std::move(fd)),
        identity_(fd_.get()),
        head_(head),
        window_bytes_(window_bytes) {}

  static bool IsSize(uint64_t bytes) {
    return (bytes & (bytes - 1)) == 0 && bytes >= kFirstSegmentBytes;
  }
  absl::Status Map(uint32_t segment, Segment& memory);
  absl::Status CheckOpen() const;
  int64_t OffsetOf(uint32_t segment) const {
    return static_cast<int64_t>((segment + 1) * window_bytes_);
  }

  Fd fd_;
  const OpenFile identity_;
  QueueHead* const head_;
  const uint64_t window_bytes_;
  std::array<std::atomic<Mapping*>, kMaxSegments> mappings_ = {};
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_MEMORY_H_
