#ifndef MP_IPC_PIPE_H_
#define MP_IPC_PIPE_H_

#include <utility>

#include "absl/status/statusor.h"
#include "mp/ipc/connection.h"

namespace mp {

// Makes two connected ends of a channel, one for each of two processes.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto ends, mp::Pipe());
//   mp::Process p(Work, std::move(ends.second));
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_ASSIGN_OR_RETURN(std::string line, ends.first.Recv<std::string>());
//
// With `duplex` both ends send and receive; otherwise the first only receives
// and the second only sends.
//
// Errors:
//   kResourceExhausted   no descriptor or memory left.
//   kFailedPrecondition  this process has closed descriptors that it did not
//                        know, before its first use of an arena.
// Source: CPython multiprocessing.Pipe(duplex). Differs: always a pair of Unix
// sockets, so that a one-way pipe carries descriptors too.
absl::StatusOr<std::pair<Connection, Connection>> Pipe(bool duplex = true);

}  // namespace mp

#endif  // MP_IPC_PIPE_H_
