#ifndef MP_BASE_SOCKET_PAIR_H_
#define MP_BASE_SOCKET_PAIR_H_

#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/fd.h"

namespace mp {

// Two connected ends of a Unix stream socket.
using SocketPair = std::pair<Fd, Fd>;

// Makes a pair of sockets, close-on-exec and none of stdin, stdout and stderr.
//
// Source: man 2 socketpair.
absl::StatusOr<SocketPair> CreateSocketPair();

}  // namespace mp

#endif  // MP_BASE_SOCKET_PAIR_H_
