#ifndef MP_BASE_FRAME_STREAM_H_
#define MP_BASE_FRAME_STREAM_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"

namespace mp {

// What carries frames, where that is more than a descriptor: one that encrypts.
//
// Threads: one writes while another reads.
class FrameStream {
 public:
  virtual ~FrameStream() = default;

  // Writes all of `pieces`, one after another. Whatever happens, `*done` is how
  // many of their bytes cannot be taken back.
  //
  // Errors:
  //   kDeadlineExceeded  not all in time.
  //   kUnavailable       the other end is closed.
  virtual absl::Status WriteAll(absl::Span<const absl::string_view> pieces,
                                const Deadline& deadline, size_t* done) = 0;

  // Reads 1 byte at least, `into.size()` at most; 0 is the orderly end.
  //
  // Errors:
  //   kDeadlineExceeded  nothing came in time; nothing is lost.
  //   kUnavailable       the stream ended, but not in order. Within a message
  //                      this is kDataLoss for who receives it.
  //   kDataLoss          the stream is not what it should be.
  virtual absl::StatusOr<size_t> ReadSome(absl::Span<char> into,
                                          const Deadline& deadline) = 0;

  // What messages call it: "TLS".
  virtual absl::string_view name() const = 0;
};

}  // namespace mp

#endif  // MP_BASE_FRAME_STREAM_H_
