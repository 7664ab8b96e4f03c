#include "mp/ipc/internal/socket_address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"

namespace mp::internal {
namespace {

// The views of a SocketAddress; std::memcpy so that no aliasing rule is broken.
template <typename T>
T As(const SocketAddress& address) {
  T value;
  static_assert(sizeof(value) <= sizeof(address.storage));
  std::memcpy(&value, &address.storage, sizeof(value));
  return value;
}

SocketAddress FromUnix(const Address& address) {
  sockaddr_un un = {};
  un.sun_family = AF_UNIX;
  const bool is_abstract = address.family() == Address::Family::kAbstract;
  std::memcpy(un.sun_path + (is_abstract ? 1 : 0), address.name().data(),
              address.name().size());
  SocketAddress result;
  std::memcpy(&result.storage, &un, sizeof(un));
  // All bytes of an abstract name count, so there is no NUL after it; there is
  // one after a path.
  result.size = offsetof(sockaddr_un, sun_path) + 1 + address.name().size();
  return result;
}

absl::Status LookUpError(int error, const Address& address) {
  const std::string what = absl::StrCat("host \"", address.name(), "\": ");
  if (error == EAI_SYSTEM) return ErrnoStatus(errno, what);
  const std::string message = absl::StrCat(what, gai_strerror(error));
  if (error == EAI_AGAIN) return absl::UnavailableError(message);
  if (error == EAI_MEMORY) return absl::ResourceExhaustedError(message);
  return absl::NotFoundError(message);
}

absl::StatusOr<std::vector<SocketAddress>> LookUp(const Address& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error =
      getaddrinfo(address.name().c_str(),
                  std::to_string(address.port()).c_str(), &hints, &list);
  if (error != 0) return LookUpError(error, address);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list,
                                                                 freeaddrinfo);
  std::vector<SocketAddress> found;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    SocketAddress& next = found.emplace_back();
    std::memcpy(&next.storage, entry->ai_addr, entry->ai_addrlen);
    next.size = entry->ai_addrlen;
  }
  // CPython's "localhost" is IPv4 only.
  std::stable_partition(
      found.begin(), found.end(),
      [](const SocketAddress& entry) { return entry.domain() == AF_INET; });
  return found;
}

bool IsLoopback(const in6_addr& host) {
  return IN6_IS_ADDR_LOOPBACK(&host) ||
         (IN6_IS_ADDR_V4MAPPED(&host) && host.s6_addr[12] == 127);
}

Address FromParts(absl::string_view host, uint16_t port) {
  absl::StatusOr<Address> address = Address::Tcp(host, ntohs(port));
  return address.ok() ? *address : Address();
}

Address ToTcp4(const SocketAddress& address) {
  const auto in = As<sockaddr_in>(address);
  char text[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
  return FromParts(text, in.sin_port);
}

Address ToTcp6(const SocketAddress& address) {
  const auto in = As<sockaddr_in6>(address);
  char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof(text));
  std::string host = text;
  // A link-local address means nothing without its network.
  if (in.sin6_scope_id != 0) {
    char name[IF_NAMESIZE];
    absl::StrAppend(&host, "%",
                    if_indextoname(in.sin6_scope_id, name) != nullptr
                        ? std::string(name)
                        : std::to_string(in.sin6_scope_id));
  }
  return FromParts(host, in.sin6_port);
}

Address ToUnix(const SocketAddress& address) {
  const auto un = As<sockaddr_un>(address);
  const size_t header = offsetof(sockaddr_un, sun_path);
  const size_t size = std::min<size_t>(address.size, sizeof(un)) -
                      std::min<size_t>(header, address.size);
  const absl::string_view path(un.sun_path, size);
  absl::StatusOr<Address> result = absl::NotFoundError("no name");
  if (!path.empty() && path[0] == '\0') {
    result = Address::Abstract(path.substr(1));
  } else if (!path.empty()) {
    result = Address::Unix(path.substr(0, path.find('\0')));
  }
  return result.ok() ? *result : Address();
}

}  // namespace

bool SocketAddress::IsLocal() const {
  switch (domain()) {
    case AF_INET:
      return ntohl(As<sockaddr_in>(*this).sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
      return IsLoopback(As<sockaddr_in6>(*this).sin6_addr);
    default:
      return true;
  }
}

Address SocketAddress::ToAddress() const {
  switch (domain()) {
    case AF_INET:
      return ToTcp4(*this);
    case AF_INET6:
      return ToTcp6(*this);
    default:
      return ToUnix(*this);
  }
}

absl::StatusOr<std::vector<SocketAddress>> Resolve(const Address& address) {
  if (address.family() == Address::Family::kTcp) return LookUp(address);
  return std::vector<SocketAddress>{FromUnix(address)};
}

Address NewAbstractAddress() {
  std::string random(16, '\0');
  // So few bytes come whole or not at all.
  if (RetryOnEintr([&] {
        return getrandom(random.data(), random.size(), 0);
      }) != static_cast<ssize_t>(random.size())) {
    MP_CHECK_OK(ErrnoStatus(errno, "getrandom"));
  }
  return *Address::Abstract(
      absl::StrCat("mp-listener-", absl::BytesToHexString(random)));
}

}  // namespace mp::internal
