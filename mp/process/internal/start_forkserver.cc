#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"

namespace mp::internal {

StartResult StartForkServer(StartRequest request) {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  MP_ASSIGN_OR_RETURN(
      Parcel parcel,
      EncodeBoot(
          {std::move(request.identity), std::move(request.parent),
           std::move(request.surroundings), std::move(request.crash_slot)},
          *request.call));
  MP_ASSIGN_OR_RETURN(ForkServer::Started started,
                      ForkServer::Get().StartChild());
  // A child that was made after the signal has not got it; without a message
  // it ends by itself.
  StandStillIfEnding();
  const absl::Status sent =
      SendBoot(started.boot_socket.get(), std::move(parcel));
  // A child that is dead by now has an exit code to tell it.
  if (sent.ok() || absl::IsUnavailable(sent)) return started.child;
  AbandonChild(*started.child);
  return sent;
}

}  // namespace mp::internal
