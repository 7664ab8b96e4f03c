#ifndef MP_IPC_INTERNAL_TLS_TEST_RELAY_H_
#define MP_IPC_INTERNAL_TLS_TEST_RELAY_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/listening_socket.h"

namespace mp::internal {

// Somebody on the wire between a client and a server of TLS.
//
// Example:
//   TestRelay relay;
//   Child cutter = RunInChild([&] {
//     return relay.Run(server, [](int number, std::string& record) {
//       return number < 3;  // the end of the wire
//     });
//   });
class TestRelay {
 public:
  // What to do with a record that the client has encrypted: number 0 ends its
  // handshake, the others are data. It may be changed; false cuts the wire after
  // what is left of it.
  using Tamper = absl::FunctionRef<bool(int number, std::string& record)>;

  TestRelay();

  // Where the client has to connect to.
  const Address& address() const { return socket_.address(); }

  // Carries one connection to a server, until either side ends it.
  absl::Status Run(const Address& server, Tamper tamper);

 private:
  ListeningSocket socket_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TLS_TEST_RELAY_H_
