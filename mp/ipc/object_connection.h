#ifndef MP_IPC_OBJECT_CONNECTION_H_
#define MP_IPC_OBJECT_CONNECTION_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle.h"

namespace mp {

// Sends an Object to a CPython program, whose Connection.recv() returns it, or
// to one of ours, which calls RecvObject().
//
// Example:
//   MP_RETURN_IF_ERROR(
//       mp::SendObject(connection, mp::Object::List({42, nullptr, "hello"})));
//   MP_ASSIGN_OR_RETURN(mp::Object answer, mp::RecvObject(connection));
//
// Shape:  one message is one pickle; see pickle.h.
// Errors: those of Connection::SendBytes(), and of DumpPickle(), after which
//         nothing was sent.
// Source: CPython Connection.send().
absl::Status SendObject(Connection& connection, const Object& object,
                        absl::Duration timeout = absl::InfiniteDuration());

// Receives an Object that a CPython program sent with Connection.send().
//
// Errors: those of Connection::RecvBytes(), where a message of more than
//         `limits.max_bytes` ends the connection; and of LoadPickle(), after
//         which the message is gone, and the next one can be received.
// Source: CPython Connection.recv().
absl::StatusOr<Object> RecvObject(
    Connection& connection, absl::Duration timeout = absl::InfiniteDuration(),
    const PickleLimits& limits = {});

}  // namespace mp

#endif  // MP_IPC_OBJECT_CONNECTION_H_
