#ifndef MP_IPC_INTERNAL_SOCKET_ADDRESS_H_
#define MP_IPC_INTERNAL_SOCKET_ADDRESS_H_

#include <sys/socket.h>

#include <vector>

#include "absl/status/statusor.h"
#include "mp/ipc/address.h"

namespace mp::internal {

// An address as the kernel has it.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
  int domain() const { return storage.ss_family; }

  // Whether only processes of this machine can reach it: all but TCP elsewhere
  // than 127.0.0.0/8 and ::1.
  bool IsLocal() const;

  Address ToAddress() const;
};

// Returns what an address stands for, at least one, IPv4 first. The name of a
// host is looked up, for as long as that takes.
//
// Errors:
//   kNotFound     there is no such host.
//   kUnavailable  it cannot be looked up now.
// Source: man 3 getaddrinfo.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const Address& address);

// Returns a new name for an abstract socket.
Address NewAbstractAddress();

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_SOCKET_ADDRESS_H_
