#ifndef MP_BASE_FRAME_WAIT_H_
#define MP_BASE_FRAME_WAIT_H_

#include "absl/status/statusor.h"
#include "mp/base/deadline.h"
#include "mp/base/frame_turn.h"

namespace mp::internal {

// Whether a pipe, for which there is no MSG_DONTWAIT, can be read or written
// now, `event` being POLLIN or POLLOUT. If not, errno says why: EAGAIN.
bool PipeIsReady(int pipe, short event);

// Waits until a stream is ready for `event`. Returns false if `deadline` passes
// before. Given a `turn`, asks it now and then whether that has a point.
//
// Errors: those of CheckOtherEnd().
absl::StatusOr<bool> AwaitStream(int stream, short event,
                                 const Deadline& deadline, FrameTurn* turn);

}  // namespace mp::internal

#endif  // MP_BASE_FRAME_WAIT_H_
