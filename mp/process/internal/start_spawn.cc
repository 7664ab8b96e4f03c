#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"

namespace mp::internal {

StartResult StartSpawn(StartRequest request) {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  // Whatever cannot travel fails here, before anything is executed.
  MP_ASSIGN_OR_RETURN(Parcel parcel,
                      EncodeBoot({std::move(request.identity),
                                  std::move(request.parent), std::nullopt},
                                 *request.call));
  MP_ASSIGN_OR_RETURN(SocketPair sockets, CreateSocketPair());
  MP_ASSIGN_OR_RETURN(ExecutedProcess process,
                      ExecuteSelf(Role::kChild, sockets.second.get()));
  sockets.second.Close();
  auto child =
      std::make_shared<ProcessChild>(process.pid, std::move(process.pidfd));
  const absl::Status sent = SendBoot(sockets.first.get(), std::move(parcel));
  // A child that is dead by now has an exit code to tell it.
  if (sent.ok() || absl::IsUnavailable(sent)) return child;
  AbandonChild(*child);
  return sent;
}

}  // namespace mp::internal
