#include "mp/ipc/internal/handshake.h"

#include <sys/random.h>

#include <cerrno>
#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mp/base/errno_status.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/auth_digest.h"
#include "mp/process/after_fork.h"
#include "mp/process/auth_key.h"

namespace mp::internal {
namespace {

constexpr absl::string_view kChallenge = "#CHALLENGE#";
constexpr absl::string_view kWelcome = "#WELCOME#";
constexpr absl::string_view kFailure = "#FAILURE#";

// The random bytes of a challenge. Before 3.12 CPython sent so few that they
// were the whole of it.
constexpr size_t kRandomBytes = 40;
constexpr size_t kOldChallengeBytes = 20;

// Of "{sha3_256}", the longest name with its braces.
constexpr size_t kMaxPrefixBytes = 10;

std::string RandomBytes() {
  std::string bytes(kRandomBytes, '\0');
  // So few bytes come whole or not at all.
  if (RetryOnEintr([&] { return getrandom(bytes.data(), bytes.size(), 0); }) !=
      static_cast<ssize_t>(bytes.size())) {
    MP_CHECK_OK(ErrnoStatus(errno, "getrandom"));
  }
  return bytes;
}

// Returns the name in "{name}..."; empty if there is none that we know.
absl::string_view DigestNameOf(absl::string_view text) {
  if (!absl::StartsWith(text, "{")) return "";
  const size_t end = text.substr(0, kMaxPrefixBytes).find('}');
  if (end == absl::string_view::npos) return "";
  const absl::string_view name = text.substr(1, end - 1);
  return IsAuthDigest(name) ? name : "";
}

absl::Status RefuseMd5(absl::string_view who) {
  return absl::UnauthenticatedError(
      absl::StrCat(who,
                   " uses MD5, as CPython before 3.12 does; set "
                   ".allow_md5 if it has to be"));
}

// The challenges of this process that wait for their answers, with the role of
// whoever issued them.
class IssuedChallenges {
 public:
  using Role = Handshake::Role;

  static IssuedChallenges& Get() {
    static auto& issued = *new IssuedChallenges;
    return issued;
  }

  void Add(Role role, const std::string& challenge) {
    const ForkSafeLock lock(mutex_);
    issued_.emplace(role, challenge);
  }
  void Remove(Role role, const std::string& challenge) {
    const ForkSafeLock lock(mutex_);
    issued_.erase({role, challenge});
  }
  bool Contains(Role role, absl::string_view challenge) {
    const ForkSafeLock lock(mutex_);
    return issued_.contains({role, std::string(challenge)});
  }

 private:
  ForkSafeMutex mutex_;
  std::set<std::pair<Role, std::string>> issued_ ABSL_GUARDED_BY(mutex_);
  AfterFork after_fork_{[this] { mutex_.Reset(); }};
};

}  // namespace

absl::StatusOr<std::string> AnswerTo(absl::string_view challenge,
                                     const AuthKey& key, bool allow_md5) {
  if (challenge.size() < kOldChallengeBytes) {
    return absl::UnauthenticatedError(
        absl::StrCat("the challenge is ", challenge.size(),
                     " bytes long, at least 20 make one"));
  }
  const bool is_old = challenge.size() == kOldChallengeBytes;
  const absl::string_view name = is_old ? "md5" : DigestNameOf(challenge);
  if (name.empty()) {
    return absl::UnauthenticatedError(
        "the challenge names no digest that is known");
  }
  if (name == "md5" && !allow_md5) return RefuseMd5("the other end");
  MP_ASSIGN_OR_RETURN(std::string code, Hmac(name, key.bytes(), challenge));
  return is_old ? code : absl::StrCat("{", name, "}", code);
}

absl::Status CheckAnswer(absl::string_view answer, absl::string_view challenge,
                         const AuthKey& key, bool allow_md5) {
  const bool is_old = answer.size() == kMd5Bytes;
  const absl::string_view name = is_old ? "md5" : DigestNameOf(answer);
  if (name.empty()) {
    return absl::UnauthenticatedError(
        "the other end answers the challenge with no digest that is known");
  }
  if (name == "md5" && !allow_md5) return RefuseMd5("the other end");
  MP_ASSIGN_OR_RETURN(const std::string code,
                      Hmac(name, key.bytes(), challenge));
  if (!is_old) answer.remove_prefix(name.size() + 2);
  if (!EqualInConstantTime(answer, code)) {
    return absl::UnauthenticatedError("the other end has another key");
  }
  return absl::OkStatus();
}

Handshake::Handshake(Role role, AuthKey key, Options options)
    : role_(role),
      key_(std::move(key)),
      options_(std::move(options)),
      state_(role == Role::kListener || role == Role::kDeliver
                 ? State::kAwaitAnswer
                 : State::kAwaitChallenge) {}

Handshake::~Handshake() { Withdraw(); }

std::string Handshake::Start() {
  return state_ == State::kAwaitAnswer ? Challenge() : "";
}

std::string Handshake::Receive(absl::string_view message) {
  switch (state_) {
    case State::kAwaitChallenge:
      return ReceiveChallenge(message);
    case State::kAwaitVerdict:
      return ReceiveVerdict(message);
    case State::kAwaitAnswer:
      return ReceiveAnswer(message);
    case State::kFinished:
      return "";
  }
  return "";
}

std::string Handshake::Challenge() {
  state_ = State::kAwaitAnswer;
  challenge_ = absl::StrCat("{", options_.digest, "}", RandomBytes());
  IssuedChallenges::Get().Add(role_, challenge_);
  return absl::StrCat(kChallenge, challenge_);
}

std::string Handshake::ReceiveChallenge(absl::string_view message) {
  if (!absl::ConsumePrefix(&message, kChallenge)) {
    Finish(absl::UnauthenticatedError(
        "the other end sent no challenge but something else; has it a key?"));
    return "";
  }
  if (IssuedChallenges::Get().Contains(role_, message)) {
    Finish(absl::UnauthenticatedError(
        "the other end reflects a challenge of this process"));
    return "";
  }
  absl::StatusOr<std::string> answer =
      AnswerTo(message, key_, options_.allow_md5);
  if (!answer.ok()) {
    Finish(answer.status());
    return "";
  }
  state_ = State::kAwaitVerdict;
  return *std::move(answer);
}

std::string Handshake::ReceiveVerdict(absl::string_view message) {
  if (message != kWelcome) {
    Finish(absl::UnauthenticatedError(
        message == kFailure
            ? "the other end refused our answer: it has another key"
            : "the other end sent no verdict but something else"));
    return "";
  }
  if (role_ == Role::kClient) return Challenge();
  Finish(absl::OkStatus());
  return "";
}

std::string Handshake::ReceiveAnswer(absl::string_view message) {
  const absl::Status status =
      CheckAnswer(message, challenge_, key_, options_.allow_md5);
  Withdraw();
  if (role_ == Role::kListener && status.ok()) {
    state_ = State::kAwaitChallenge;
  } else {
    Finish(status);
  }
  return std::string(status.ok() ? kWelcome : kFailure);
}

void Handshake::Finish(absl::Status status) {
  state_ = State::kFinished;
  status_ = std::move(status);
}

void Handshake::Withdraw() {
  if (challenge_.empty()) return;
  IssuedChallenges::Get().Remove(role_, challenge_);
  challenge_.clear();
}

}  // namespace mp::internal
