#ifndef MP_BASE_FORMAT_HEAD_H_
#define MP_BASE_FORMAT_HEAD_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mp {

// What memory that programs share begins with, so that one which was built in
// another way does not take its bytes for something else.
//
// Example:
//   struct QueueHead {
//     FormatHead format;
//     ...
//   };
//   const FormatHead own = FormatHead::Of("mpQUEUE", 1, sizeof(QueueHead));
//   MP_RETURN_IF_ERROR(CheckFormat(head.format, own, "Queue::Attach", "queue"));
//
// Shape: 24 bytes.
struct FormatHead {
  char magic[8];
  uint32_t version;
  uint32_t word_bytes;  // of a pointer
  uint32_t build;       // BuildMode()
  uint32_t head_bytes;  // of what begins with this

  // `magic` has 7 letters.
  static FormatHead Of(absl::string_view magic, uint32_t version,
                       uint32_t head_bytes);
};
static_assert(sizeof(FormatHead) == 24);

// Compares what is there, which any process may have written, with what this
// program would write.
//
// Errors, with `operation` and the `kind` of thing it should be:
//   kDataLoss            it is no such thing.
//   kFailedPrecondition  of another version, word size or build mode.
absl::Status CheckFormat(const FormatHead& head, const FormatHead& own,
                         absl::string_view operation, absl::string_view kind);

// How this program was built, where that changes what lies in memory.
uint32_t BuildMode();
std::string BuildModeName(uint32_t mode);

}  // namespace mp

#endif  // MP_BASE_FORMAT_HEAD_H_
