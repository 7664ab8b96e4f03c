#ifndef MP_IPC_ADDRESS_H_
#define MP_IPC_ADDRESS_H_

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/process/serializer.h"

namespace mp {

// Where a Listener is: a socket file, an abstract Unix socket, or a TCP port.
//
// Example:
//   MP_ASSIGN_OR_RETURN(Address address, Address::Parse("localhost:6000"));
//   MP_ASSIGN_OR_RETURN(Connection connection, Client(address));
//
// An abstract socket has a name that is no file: it goes with its listener,
// however that ends, and is the same in all containers that share a network.
//
// Shape:   a value. As text, what Parse() takes and ToString() gives:
//            /run/app.sock, ./app.sock    a file (man 7 unix)
//            unix:app.sock                a file, whatever its name begins with
//            @name                        an abstract socket
//            10.0.0.7:6000, host:6000     TCP over IPv4, or IPv6
//            [::1]:6000                   TCP over IPv6
// Units:   a path and an abstract name have at most kMaxPathBytes.
// Fork:    travels as an argument or in a message.
// Source:  CPython multiprocessing.connection.address_type(). Differs: IPv6; an
//          abstract name is written with '@', as ss(8) does, not with a NUL.
class Address {
 public:
  enum class Family : uint8_t { kUnix, kAbstract, kTcp };

  // What fits into a sockaddr_un beside a NUL.
  static constexpr size_t kMaxPathBytes = 107;

  // Returns the address that a text stands for, one of those above. A NUL in
  // front, as CPython has it, stands for '@' too.
  //
  // Errors:
  //   kInvalidArgument  it is none of those, or too long.
  static absl::StatusOr<Address> Parse(absl::string_view text);

  // Returns the address of a socket file, whose directory must be there.
  //
  // Errors:
  //   kInvalidArgument  the path is empty, too long or has a NUL byte.
  static absl::StatusOr<Address> Unix(absl::string_view path);

  // Returns the address of an abstract Unix socket. The name may be any bytes.
  //
  // Errors:
  //   kInvalidArgument  the name is empty or too long.
  static absl::StatusOr<Address> Abstract(absl::string_view name);

  // Returns the address of a TCP port. `host` is a number, such as "127.0.0.1"
  // or "::1", or a name, which is looked up when it is used, IPv4 first. A
  // listener takes port 0 as any that is free.
  //
  // Errors:
  //   kInvalidArgument  the host is empty, or has a byte that no host has.
  static absl::StatusOr<Address> Tcp(absl::string_view host, uint16_t port);

  // The default address of a Listener: an abstract socket of a new name.
  Address() = default;

  Family family() const { return family_; }

  // The path, abstract name or host; empty in a default address, and in that of
  // a client on a Unix socket, which has none.
  const std::string& name() const { return name_; }

  // 0 unless kTcp.
  uint16_t port() const { return port_; }

  // Returns what Parse() takes, or "(no name)". Bytes of an abstract name that
  // do not print are written as in C.
  std::string ToString() const;

  friend bool operator==(const Address&, const Address&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Address& address) {
    return out << address.ToString();
  }

 private:
  Address(Family family, std::string name, uint16_t port)
      : family_(family), name_(std::move(name)), port_(port) {}

  Family family_ = Family::kAbstract;
  std::string name_;
  uint16_t port_ = 0;
};

template <>
struct Serializer<Address> {
  static void Encode(const Address& address, Encoder& encoder);
  static absl::StatusOr<Address> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_IPC_ADDRESS_H_
