#include "mp/ipc/auth.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/auth_digest.h"
#include "mp/ipc/internal/handshake.h"
#include "mp/ipc/internal/run_handshake.h"
#include "mp/process/auth_key.h"

namespace mp {
namespace {

absl::Status CheckOptions(const ChallengeOptions& options) {
  if (!internal::IsAuthDigest(options.digest_name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no digest \"", options.digest_name,
        "\"; there are md5, sha256, sha384, sha3_256 and sha3_384"));
  }
  if (options.digest_name == "md5" && !options.allow_md5) {
    return absl::InvalidArgumentError(
        "the digest is md5 and .allow_md5 is false");
  }
  return absl::OkStatus();
}

absl::Status RunRole(internal::Handshake::Role role, Connection& connection,
                     const AuthKey& key, const ChallengeOptions& options,
                     absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckOptions(options));
  internal::Handshake handshake(
      role, key,
      {.allow_md5 = options.allow_md5, .digest = options.digest_name});
  return internal::RunHandshake(connection, handshake, Deadline(timeout));
}

absl::Status WithContext(absl::string_view operation, absl::Status status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(operation, ": ", status.message()));
}

}  // namespace

absl::Status DeliverChallenge(Connection& connection, const AuthKey& key,
                              const ChallengeOptions& options,
                              absl::Duration timeout) {
  return WithContext("DeliverChallenge",
                     RunRole(internal::Handshake::Role::kDeliver, connection,
                             key, options, timeout));
}

absl::Status AnswerChallenge(Connection& connection, const AuthKey& key,
                             const ChallengeOptions& options,
                             absl::Duration timeout) {
  return WithContext("AnswerChallenge",
                     RunRole(internal::Handshake::Role::kAnswer, connection,
                             key, options, timeout));
}

}  // namespace mp
