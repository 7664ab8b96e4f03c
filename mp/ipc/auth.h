#ifndef MP_IPC_AUTH_H_
#define MP_IPC_AUTH_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/ipc/connection.h"
#include "mp/process/auth_key.h"

namespace mp {

// CPython's handshake: how the two ends of a connection prove to each other
// that they have the same key, without sending it. Listener and Client do it by
// themselves if they are given a key; this is for connections made otherwise.
//
// Example:
//   // One end:                            // The other:
//   DeliverChallenge(connection, key);     AnswerChallenge(connection, key);
//   AnswerChallenge(connection, key);      DeliverChallenge(connection, key);
//
// It tells friends from strangers, once. What follows is neither encrypted nor
// protected, so that where others can reach the wire it is TLS that is needed.
//
// Shape:   messages of at most 256 bytes; HMAC with SHA-2 or SHA-3.
// Threads: nobody else may use the connection meanwhile.
// Death:   an other end that dies is kUnavailable.
// Source:  CPython multiprocessing.connection.deliver_challenge() and
//          answer_challenge(): understands all versions, MD5 if allowed.
struct ChallengeOptions {
  // Gives and takes answers by MD5, with which CPython before 3.12 does without
  // anything better. Default: refuses them.
  bool allow_md5 = false;

  // The digest to be asked for in a challenge: "sha256", "sha384", "sha3_256",
  // "sha3_384"; or "md5", if that is allowed.
  std::string digest_name = "sha256";
};

// How long Listener and Client wait for a handshake, unless they are told.
inline constexpr absl::Duration kDefaultHandshakeTimeout = absl::Seconds(20);

// Has the other end prove that it has the key. If it does not, it is told so.
//
// Errors:
//   kUnauthenticated   it has another key, no key, or only MD5. Close the
//                      connection.
//   kDeadlineExceeded  it did not answer in time. Close the connection.
//   kUnavailable       it is gone.
//   kInvalidArgument   there is no digest of this name.
//   and kFailedPrecondition, as of Connection.
absl::Status DeliverChallenge(
    Connection& connection, const AuthKey& key,
    const ChallengeOptions& options = {},
    absl::Duration timeout = kDefaultHandshakeTimeout);

// Proves to the other end that this one has the key. Errors: as above, and
// kUnauthenticated if the other end did not believe it.
absl::Status AnswerChallenge(Connection& connection, const AuthKey& key,
                             const ChallengeOptions& options = {},
                             absl::Duration timeout = kDefaultHandshakeTimeout);

}  // namespace mp

#endif  // MP_IPC_AUTH_H_
