#include <memory>
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
  MP_ASSIGN_OR_RETURN(const Parcel packed, PackBoot(std::move(parcel)));
  MP_ASSIGN_OR_RETURN(std::shared_ptr<Child> child,
                      ForkServer::Get().StartChild(packed));
  // A child that was made after the signal has not got it; it waits to be let
  // begin, and otherwise ends by itself.
  StandStillIfEnding();
  return child;
}

}  // namespace mp::internal
