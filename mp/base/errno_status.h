#ifndef MP_BASE_ERRNO_STATUS_H_
#define MP_BASE_ERRNO_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mp {

// Returns a status for a failed system call: "OPERATION: text of errno".
//
// absl::ErrnoToStatus() fits most errors; the ones that processes and their
// messages run into get the code that a caller can act on:
//
//   kResourceExhausted  EAGAIN (fork at the process limit), ENOMEM, EMFILE,
//                       ENFILE, ENOSPC, ETOOMANYREFS
//   kUnavailable        EPIPE, ECONNRESET: the other end is gone
//   kAborted            EOWNERDEAD
//   kInvalidArgument    EMSGSIZE
//   kDataLoss           EPROTO, EIO
//
// Source: man 3 errno.
absl::Status ErrnoStatus(int error, absl::string_view operation);

}  // namespace mp

#endif  // MP_BASE_ERRNO_STATUS_H_
