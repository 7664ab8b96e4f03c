#ifndef MP_IPC_INTERNAL_ACCEPTING_H_
#define MP_IPC_INTERNAL_ACCEPTING_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/ipc/address.h"

// What listeners have in common, with and without TLS.
namespace mp::internal {

// How long an Accept() that finds no descriptor for a client waits for one.
inline constexpr absl::Duration kExhaustionPause = absl::Milliseconds(50);

// Errors:
//   kInvalidArgument  one of these options is out of its range.
absl::Status CheckHandshakeOptions(absl::Duration handshake_timeout,
                                   int max_handshakes);

// What an Accept() returns that was too late, or in vain.
absl::Status ListenerIsClosed();
absl::Status NoClientCame();

// The address of a listener that was moved from.
const Address& NoAddress();

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_ACCEPTING_H_
