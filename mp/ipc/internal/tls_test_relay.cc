#include "mp/ipc/internal/tls_test_relay.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/internal/listening_socket.h"
#include "mp/ipc/internal/stream_socket.h"

namespace mp::internal {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr size_t kHeaderBytes = 5;
constexpr char kEncrypted = 23;  // RFC 8446, section 5.1

ListeningSocket Listen() {
  absl::StatusOr<ListeningSocket> socket =
      ListeningSocket::Create(*Address::Tcp("127.0.0.1", 0), {});
  MP_CHECK_OK(socket);
  return *std::move(socket);
}

// Returns a record; an empty string is the end.
absl::StatusOr<std::string> ReadRecord(int from) {
  std::string record(kHeaderBytes, '\0');
  MP_ASSIGN_OR_RETURN(const size_t got,
                      ReadUpTo(from, record.data(), kHeaderBytes));
  if (got < kHeaderBytes) return std::string();
  const size_t body = static_cast<unsigned char>(record[3]) << 8 |
                      static_cast<unsigned char>(record[4]);
  record.resize(kHeaderBytes + body);
  MP_RETURN_IF_ERROR(
      ReadUpTo(from, record.data() + kHeaderBytes, body).status());
  return record;
}

// Carries what there is from the server to the client. Returns false at the end.
absl::StatusOr<bool> CarryBack(int server, int client) {
  char bytes[1 << 12];
  const ssize_t got = recv(server, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  MP_RETURN_IF_ERROR(WriteAll(client, {bytes, static_cast<size_t>(got)}));
  return true;
}

}  // namespace

TestRelay::TestRelay() : socket_(Listen()) {}

absl::Status TestRelay::Run(const Address& server, Tamper tamper) {
  MP_RETURN_IF_ERROR(WaitForFd(socket_.fd(), POLLIN, Deadline(kLong)).status());
  MP_ASSIGN_OR_RETURN(auto accepted, socket_.TryAccept());
  if (!accepted.has_value()) return absl::UnavailableError("no client");
  const Fd client = std::move(accepted->socket);
  MP_ASSIGN_OR_RETURN(const Fd upstream,
                      ConnectSocket(server, Deadline(kLong)));
  int number = 0;
  while (true) {
    pollfd ready[] = {{client.get(), POLLIN, 0}, {upstream.get(), POLLIN, 0}};
    MP_RETURN_IF_ERROR(
        PollUntil(absl::MakeSpan(ready), Deadline(kLong)).status());
    if (ready[1].revents != 0) {
      MP_ASSIGN_OR_RETURN(const bool more,
                          CarryBack(upstream.get(), client.get()));
      if (!more) return absl::OkStatus();
    }
    if (ready[0].revents == 0) continue;
    MP_ASSIGN_OR_RETURN(std::string record, ReadRecord(client.get()));
    if (record.empty()) return absl::OkStatus();
    const bool go_on = record[0] != kEncrypted || tamper(number++, record);
    MP_RETURN_IF_ERROR(WriteAll(upstream.get(), record));
    if (!go_on) return absl::OkStatus();
  }
}

}  // namespace mp::internal
