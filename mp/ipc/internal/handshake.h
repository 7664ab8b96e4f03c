#ifndef MP_IPC_INTERNAL_HANDSHAKE_H_
#define MP_IPC_INTERNAL_HANDSHAKE_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/process/auth_key.h"

namespace mp::internal {

// No message of a handshake is longer.
inline constexpr size_t kMaxHandshakeBytes = 256;

// Returns the answer to a challenge (what follows "#CHALLENGE#"), with the
// digest that the challenge names.
//
// Errors:
//   kUnauthenticated  it is no challenge, or one for MD5 without `allow_md5`.
absl::StatusOr<std::string> AnswerTo(absl::string_view challenge,
                                     const AuthKey& key, bool allow_md5);

// Checks the answer to a challenge of ours. Whoever answers chooses the digest.
//
// Errors:
//   kUnauthenticated  it is not what one who has the key would say, or is by
//                     MD5 without `allow_md5`.
absl::Status CheckAnswer(absl::string_view answer, absl::string_view challenge,
                         const AuthKey& key, bool allow_md5);

// One side of CPython's handshake, without the I/O: messages in, messages out.
//
// Example:
//   std::string reply = handshake.Start();
//   while (true) {
//     if (!reply.empty()) Send(reply);
//     if (handshake.finished()) return handshake.status();
//     reply = handshake.Receive(ReceiveMessage());
//   }
//
// Each side in turn challenges the other: the listener first. A challenge is
// answered with its HMAC, and that with a verdict.
//
// That a client answers before it knows whom is the protocol's weakness: one
// without the key could have it answer the client's own challenge, over another
// connection. So a challenge that another Handshake of the same role in this
// process has issued is refused.
//
// Threads: a Handshake is for one thread at a time.
// Source:  CPython Lib/multiprocessing/connection.py, deliver_challenge and
//          answer_challenge: of 3.12 and later, and those before with MD5.
class Handshake {
 public:
  enum class Role { kListener, kClient, kDeliver, kAnswer };

  struct Options {
    // Gives and takes answers by MD5, which is all that CPython before 3.12 has.
    bool allow_md5 = false;

    // With what to be answered, by one who follows.
    std::string digest = "sha256";
  };

  Handshake(Role role, AuthKey key, Options options);
  Handshake(Handshake&& other) noexcept = delete;
  ~Handshake();

  // Returns the first message to send; empty if the other side begins.
  std::string Start();

  // Takes a message, and returns what to send then; empty if nothing.
  std::string Receive(absl::string_view message);

  bool finished() const { return state_ == State::kFinished; }

  // How it finished: kUnauthenticated unless both have proved to have the key.
  const absl::Status& status() const { return status_; }

 private:
  enum class State { kAwaitChallenge, kAwaitVerdict, kAwaitAnswer, kFinished };

  std::string Challenge();
  std::string ReceiveChallenge(absl::string_view message);
  std::string ReceiveVerdict(absl::string_view message);
  std::string ReceiveAnswer(absl::string_view message);
  void Finish(absl::Status status);
  void Withdraw();

  const Role role_;
  const AuthKey key_;
  const Options options_;
  State state_;
  std::string challenge_;  // ours, while it waits for its answer
  absl::Status status_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_HANDSHAKE_H_
