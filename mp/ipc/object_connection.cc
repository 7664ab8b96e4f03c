#include "mp/ipc/object_connection.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle.h"

namespace mp {

absl::Status SendObject(Connection& connection, const Object& object,
                        absl::Duration timeout) {
  MP_ASSIGN_OR_RETURN(const std::string pickle, DumpPickle(object));
  return connection.SendBytes(pickle, timeout);
}

absl::StatusOr<Object> RecvObject(Connection& connection,
                                  absl::Duration timeout,
                                  const PickleLimits& limits) {
  MP_ASSIGN_OR_RETURN(const std::string pickle,
                      connection.RecvBytes(timeout, limits.max_bytes));
  return LoadPickle(pickle, limits);
}

}  // namespace mp
