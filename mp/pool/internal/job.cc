#include "mp/pool/internal/job.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/runner.h"

namespace mp::internal {

absl::StatusOr<std::unique_ptr<Job>> ReadJob(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Call> call, ReadCallCatching(decoder));
  // Any call could have been sent; not only one of ours.
  if (Job* const job = dynamic_cast<Job*>(call.get()); job != nullptr) {
    static_cast<void>(call.release());
    return std::unique_ptr<Job>(job);
  }
  return absl::DataLossError("what was sent as a job is none");
}

}  // namespace mp::internal
