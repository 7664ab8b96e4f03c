#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/boot.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/self_image.h"
#include "mp/process/internal/start.h"
#include "mp/process/parcel.h"

namespace mp::internal {

StartResult StartForkServer(StartRequest request) {
  MP_RETURN_IF_ERROR(CheckSelfIsKnown());
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    environment.emplace_back(*entry);
  }
  MP_ASSIGN_OR_RETURN(Parcel parcel, EncodeBoot({std::move(request.identity),
                                                 std::move(request.parent),
                                                 std::move(environment)},
                                                *request.call));
  MP_ASSIGN_OR_RETURN(ForkServer::Started started,
                      ForkServer::Get().StartChild());
  const absl::Status sent =
      SendBoot(started.boot_socket.get(), std::move(parcel));
  // A child that is dead by now has an exit code to tell it.
  if (sent.ok() || absl::IsUnavailable(sent)) return started.child;
  AbandonChild(*started.child);
  return sent;
}

}  // namespace mp::internal
