#ifndef MP_BASE_FRAME_TURN_H_
#define MP_BASE_FRAME_TURN_H_

#include <cstddef>

#include "absl/status/status.h"

namespace mp {

// What one who reads or writes frames owes to other processes that use the same
// end of the stream, in turn with it: a mark in shared memory, by which they
// see that it ended in the middle of a message.
//
// Example: mp/ipc/connection.cc.
//
// Threads: that of the reader or writer.
class FrameTurn {
 public:
  virtual ~FrameTurn() = default;

  // So many bytes go into the stream all at once or not at all, and need no
  // mark.
  virtual size_t atomic_bytes() const = 0;

  // Before the first byte that may be followed by others. May be called again.
  virtual void Begin() = 0;

  // That byte has not gone after all.
  virtual void TakeBack() = 0;

  // Asked every 50 ms while the rest of a message is waited for, or room for
  // it. An error says that neither will come, and ends the wait.
  virtual absl::Status CheckOtherEnd() = 0;
};

}  // namespace mp

#endif  // MP_BASE_FRAME_TURN_H_
