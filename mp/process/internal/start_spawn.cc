#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/fork_closed.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"

namespace mp::internal {

StartResult StartSpawn(StartRequest request) {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  // By exec, so that the dynamic linker sees it too.
  const auto environment =
      std::exchange(request.surroundings.environment, std::nullopt);
  // Whatever cannot travel fails here, before anything is executed.
  MP_ASSIGN_OR_RETURN(
      Parcel parcel,
      EncodeBoot(
          {std::move(request.identity), std::move(request.parent),
           std::move(request.surroundings), std::move(request.crash_slot)},
          *request.call));
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  const ForkClosed closed(sockets.first);
  MP_ASSIGN_OR_RETURN(
      ExecutedProcess process,
      ExecuteSelf(Role::kChild, sockets.second.get(), environment));
  sockets.second.Close();
  auto child =
      std::make_shared<ProcessChild>(process.pid, std::move(process.pidfd));
  // A child that was made after the signal has not got it; without a message
  // it ends by itself.
  StandStillIfEnding();
  const absl::Status sent = SendBoot(sockets.first.get(), std::move(parcel));
  // A child that is dead by now has an exit code to tell it.
  if (sent.ok() || absl::IsUnavailable(sent)) return child;
  AbandonChild(*child);
  return sent;
}

}  // namespace mp::internal
