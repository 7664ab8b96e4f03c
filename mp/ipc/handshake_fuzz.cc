// Talks to a handshake as one who need not have the key.
//
// An input is a byte for the role and for what is allowed, and messages: a byte
// for the length of each, and its bytes. "@" and a letter in a message stand for
// what differs each time, and so cannot be in a file: see Expand(). With the
// highest bit of the first byte set, the rest goes over a socket as it is.
//
// Whoever has not the key is never taken for one who has it.

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/auth_digest.h"
#include "mp/ipc/internal/handshake.h"
#include "mp/ipc/internal/run_handshake.h"
#include "mp/process/auth_key.h"

namespace mp {
namespace {

using ::mp::internal::Handshake;

constexpr absl::string_view kKey = "abracadabra";
constexpr absl::string_view kChallenge = "#CHALLENGE#";

[[noreturn]] void Die(absl::string_view complaint) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(complaint.size()),
               complaint.data());
  std::abort();
}

void CheckRefusal(const absl::Status& status) {
  if (absl::IsUnauthenticated(status) || absl::IsUnavailable(status)) return;
  Die(absl::StrCat("refused, but with ", status.ToString()));
}

// The other side.
class Peer {
 public:
  // Takes what the handshake sends.
  void Hear(absl::string_view message) {
    if (absl::ConsumePrefix(&message, kChallenge)) {
      challenge_ = std::string(message);
    }
  }

  // Puts in the right answer, by SHA-2 for "@a" and by MD5 for "@m", and the
  // challenge itself for "@c".
  std::string Expand(absl::string_view text) {
    std::string message;
    for (size_t i = 0; i < text.size(); ++i) {
      const char next = text[i] == '@' && i + 1 < text.size() ? text[i + 1] : 0;
      if (next == 'c') {
        absl::StrAppend(&message, challenge_);
      } else if (next == 'a') {
        absl::StrAppend(&message, "{sha256}", Answer("sha256"));
      } else if (next == 'm') {
        absl::StrAppend(&message, Answer("md5"));
      } else {
        message += text[i];
        continue;
      }
      ++i;
    }
    return message;
  }

  bool has_key() const { return has_key_; }

 private:
  std::string Answer(absl::string_view digest) {
    has_key_ = true;
    return *internal::Hmac(digest, kKey, challenge_);
  }

  std::string challenge_;
  bool has_key_ = false;
};

void Converse(Handshake& handshake, bool proves, absl::string_view input) {
  Peer peer;
  peer.Hear(handshake.Start());
  while (!handshake.finished() && !input.empty()) {
    const size_t size = static_cast<unsigned char>(input[0]);
    input.remove_prefix(1);
    const std::string message = peer.Expand(input.substr(0, size));
    input.remove_prefix(std::min(size, input.size()));
    const std::string reply = handshake.Receive(message);
    if (reply.size() > internal::kMaxHandshakeBytes) Die("too long a reply");
    peer.Hear(reply);
  }
  if (!handshake.finished()) return;
  if (!handshake.status().ok()) return CheckRefusal(handshake.status());
  if (proves && !peer.has_key()) Die("taken for one who has the key");
}

void Stream(Handshake& handshake, bool proves, absl::string_view input) {
  auto sockets = CreateSocketPair();
  MP_CHECK_OK(sockets);
  MP_CHECK_OK(WriteAll(sockets->second.get(), input.substr(0, 1 << 14)));
  shutdown(sockets->second.get(), SHUT_WR);
  auto connection = Connection::FromFd(std::move(sockets->first));
  MP_CHECK_OK(connection);
  const absl::Status status = internal::RunHandshake(
      *connection, handshake, Deadline(absl::Seconds(60)));
  if (!status.ok()) return CheckRefusal(status);
  if (proves) Die("taken for one who has the key");
}

}  // namespace
}  // namespace mp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Role = mp::internal::Handshake::Role;
  if (size < 1) return 0;
  constexpr Role kRoles[] = {Role::kListener, Role::kClient, Role::kDeliver,
                             Role::kAnswer};
  const Role role = kRoles[data[0] % 4];
  mp::Handshake handshake(role, mp::AuthKey::FromBytes(mp::kKey),
                          {.allow_md5 = (data[0] & 4) != 0});
  const absl::string_view rest(reinterpret_cast<const char*>(data) + 1,
                               size - 1);
  const bool proves = role != Role::kAnswer;
  if ((data[0] & 0x80) != 0) {
    mp::Stream(handshake, proves, rest);
  } else {
    mp::Converse(handshake, proves, rest);
  }
  return 0;
}
