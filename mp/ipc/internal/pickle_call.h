#ifndef MP_IPC_INTERNAL_PICKLE_CALL_H_
#define MP_IPC_INTERNAL_PICKLE_CALL_H_

#include "absl/status/statusor.h"
#include "mp/ipc/object.h"

namespace mp::internal {

// Returns what a call in a pickle stands for: a set, frozenset, bytes or
// bytearray, as older protocols write them; else a record. Calls nothing.
//
// Errors:
//   kInvalidArgument  `function` is none of the closed list, or not with these
//                     arguments.
absl::StatusOr<Object> ObjectOfCall(const Object& function, Object args);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PICKLE_CALL_H_
