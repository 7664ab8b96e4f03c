#ifndef MP_PROCESS_INTERNAL_FORK_SERVER_MAIN_H_
#define MP_PROCESS_INTERNAL_FORK_SERVER_MAIN_H_

#include "mp/base/fd.h"
#include "mp/process/internal/boot.h"

namespace mp::internal {

// The body of a fork server: makes children for the client at the other end of
// the socket until that is gone. See fork_protocol.h for what they say.
[[noreturn]] void RunForkServer(Fd socket, const ChildSetup& setup);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_FORK_SERVER_MAIN_H_
