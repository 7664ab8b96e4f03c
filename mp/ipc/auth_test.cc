#include "mp/ipc/auth.h"

#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/auth_key.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::StatusCode kUnauthenticated =
    absl::StatusCode::kUnauthenticated;
constexpr absl::Duration kLong = absl::Seconds(60);

AuthKey Key() { return AuthKey::FromBytes("abracadabra"); }

class AuthTest : public ::testing::Test {
 protected:
  AuthTest() {
    EXPECT_THAT(Pipe(), IsOk());  // what the first one opens may stay
    leak_check_.emplace();
  }

  void SetUp() override {
    auto ends = Pipe();
    ASSERT_THAT(ends, IsOk());
    ours_ = std::move(ends->first);
    theirs_ = std::move(ends->second);
  }

  // Forks a process that has the other end, and only that.
  Child Peer(absl::FunctionRef<absl::Status()> body) {
    Child child = RunInChild([&] {
      ours_.Close();
      return body();
    });
    theirs_.Close();
    return child;
  }

  std::optional<LeakCheck> leak_check_;
  Connection ours_;
  Connection theirs_;
};

TEST_F(AuthTest, ProcessesWithOneKeyMeet) {
  Child child = Peer([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(AnswerChallenge(theirs_, Key(), {}, kLong));
    MP_RETURN_IF_ERROR(DeliverChallenge(theirs_, Key(), {}, kLong));
    return theirs_.SendBytes("right after");
  });
  EXPECT_THAT(DeliverChallenge(ours_, Key(), {}, kLong), IsOk());
  EXPECT_THAT(AnswerChallenge(ours_, Key(), {}, kLong), IsOk());
  EXPECT_THAT(ours_.RecvBytes(kLong), IsOkAndHolds("right after"));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(AuthTest, EveryDigestWorks) {
  for (const char* digest :
       {"md5", "sha256", "sha384", "sha3_256", "sha3_384"}) {
    const ChallengeOptions options = {.allow_md5 = true, .digest_name = digest};
    std::thread peer([&] {
      EXPECT_THAT(AnswerChallenge(theirs_, Key(), options, kLong), IsOk());
    });
    EXPECT_THAT(DeliverChallenge(ours_, Key(), options, kLong), IsOk());
    peer.join();
  }
}

TEST_F(AuthTest, BogusAnswerIsRefused) {
  ASSERT_THAT(theirs_.SendBytes("something bogus"), IsOk());
  EXPECT_THAT(DeliverChallenge(ours_, Key(), {}, kLong),
              StatusIs(kUnauthenticated, HasSubstr("DeliverChallenge")));
  EXPECT_THAT(theirs_.RecvBytes(kLong), IsOk());  // the challenge
  EXPECT_THAT(theirs_.RecvBytes(kLong), IsOkAndHolds("#FAILURE#"));
}

TEST_F(AuthTest, BogusVerdictIsRefused) {
  ASSERT_THAT(theirs_.SendBytes(
                  absl::StrCat("#CHALLENGE#{sha256}", std::string(40, 'x'))),
              IsOk());
  ASSERT_THAT(theirs_.SendBytes("something bogus"), IsOk());
  EXPECT_THAT(AnswerChallenge(ours_, Key(), {}, kLong),
              StatusIs(kUnauthenticated, HasSubstr("no verdict")));
}

TEST_F(AuthTest, WhatIsNoChallengeIsRefused) {
  ASSERT_THAT(theirs_.SendBytes("{\"hello\": 1}"), IsOk());
  EXPECT_THAT(AnswerChallenge(ours_, Key(), {}, kLong),
              StatusIs(kUnauthenticated, HasSubstr("has it a key?")));
}

TEST_F(AuthTest, LongMessageIsRefusedUnread) {
  ASSERT_THAT(theirs_.SendBytes(std::string(257, '#')), IsOk());
  EXPECT_THAT(AnswerChallenge(ours_, Key(), {}, kLong),
              StatusIs(kUnauthenticated, HasSubstr("256")));
}

// 256 bytes are within the limit: no challenge of any version is longer.
TEST_F(AuthTest, LongestChallengeIsAnswered) {
  ASSERT_THAT(theirs_.SendBytes(
                  absl::StrCat("#CHALLENGE#{sha256}", std::string(237, 'x'))),
              IsOk());
  ASSERT_THAT(theirs_.SendBytes("#WELCOME#"), IsOk());
  EXPECT_THAT(AnswerChallenge(ours_, Key(), {}, kLong), IsOk());
}

TEST_F(AuthTest, SilenceEndsInTime) {
  EXPECT_THAT(DeliverChallenge(ours_, Key(), {}, absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(AnswerChallenge(theirs_, Key(), {.allow_md5 = true},
                              absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(AuthTest, DeadPeerIsNoticed) {
  Child child = Peer([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(theirs_.RecvBytes(kLong).status());
    return absl::OkStatus();
  });
  EXPECT_THAT(DeliverChallenge(ours_, Key(), {}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(AuthTest, DigestMustBeKnown) {
  EXPECT_THAT(
      DeliverChallenge(ours_, Key(), {.digest_name = "sha512"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sha3_384")));
  EXPECT_THAT(
      DeliverChallenge(ours_, Key(), {.digest_name = "md5"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".allow_md5")));
}

TEST_F(AuthTest, Md5IsForThoseWhoAllowIt) {
  std::thread peer([&] {
    EXPECT_THAT(AnswerChallenge(theirs_, Key(), {}, kLong),
                StatusIs(kUnauthenticated, HasSubstr(".allow_md5")));
    theirs_.Close();
  });
  EXPECT_THAT(
      DeliverChallenge(ours_, Key(), {.allow_md5 = true, .digest_name = "md5"},
                       kLong),
      StatusIs(absl::StatusCode::kUnavailable));
  peer.join();
}

}  // namespace
}  // namespace mp
