#include "mp/base/errno_status.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mp {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case ETOOMANYREFS:
      return absl::StatusCode::kResourceExhausted;
    case EPIPE:
    case ECONNRESET:
      return absl::StatusCode::kUnavailable;
    case EOWNERDEAD:
      return absl::StatusCode::kAborted;
    case EMSGSIZE:
      return absl::StatusCode::kInvalidArgument;
    case EPROTO:
    case EIO:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::ErrnoToStatusCode(error);
  }
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view operation) {
  // Abseil's text of the error, which is "OPERATION: text [number]" or so, is
  // thread-safe; only the code is ours.
  const absl::Status status = absl::ErrnoToStatus(error, operation);
  return absl::Status(CodeOf(error), status.message());
}

}  // namespace mp
