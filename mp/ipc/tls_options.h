#ifndef MP_IPC_TLS_OPTIONS_H_
#define MP_IPC_TLS_OPTIONS_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "mp/process/auth_key.h"

namespace mp {

// How the two ends of a TLS connection tell that they are friends: by a key
// that both have, or by certificates that one authority has signed. One of the
// two has to be given, and only one.
//
// Example:
//   const TlsOptions by_key = {.authkey = AuthKey::FromBytes(secret)};
//   const TlsOptions by_certificate = {.certificate_file = "worker.crt",
//                                      .private_key_file = "worker.key",
//                                      .ca_file = "cluster_ca.crt"};
struct TlsOptions {
  // Shorter keys can be guessed by one who has talked to us once, and are for
  // addresses that no other machine reaches only.
  static constexpr size_t kMinRemoteKeyBytes = 16;

  // The key that both ends have. AuthKey::Random() makes one; hand it over by a
  // pipe or a file of mode 0600, not on a command line.
  std::optional<AuthKey> authkey = std::nullopt;

  // What this end shows of itself: a PEM file with its certificate, and those
  // between it and the authority's if there are any.
  std::string certificate_file = {};

  // The private key of that certificate, in PEM, without a passphrase.
  std::string private_key_file = {};

  // The certificates, in PEM, of the authorities that sign for friends. Those of
  // the system are not asked.
  std::string ca_file = {};

  // The name or the IP address that the listener's certificate has to have.
  // For clients that go by certificates. Default: the host of the address.
  std::string server_name = {};

  // How long the other end may take for the handshake, of which a listener's
  // Accept() is a part.
  absl::Duration handshake_timeout = absl::Seconds(20);

  // Of a listener: how many clients may wait for an Accept() to begin with them.
  // Others wait to connect.
  int backlog = 128;

  // Of a listener: how many clients may be in the handshake at once, each with a
  // descriptor. With so many silent ones, others wait for a handshake_timeout.
  int max_handshakes = 64;
};

}  // namespace mp

#endif  // MP_IPC_TLS_OPTIONS_H_
