#include "mp/ipc/internal/handshake.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/ipc/internal/auth_digest.h"
#include "mp/process/auth_key.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Role = Handshake::Role;

constexpr absl::StatusCode kUnauthenticated =
    absl::StatusCode::kUnauthenticated;

AuthKey Key() { return AuthKey::FromBytes("abracadabra"); }

// The bytes 0, 1, 2 and so on.
std::string Counting(int size) {
  std::string bytes(size, '\0');
  std::iota(bytes.begin(), bytes.end(), 0);
  return bytes;
}

struct Vector {
  std::string challenge;
  std::string prefix;
  std::string hex;

  std::string answer() const { return prefix + absl::HexStringToBytes(hex); }
};

// Recorded from CPython 3.12, with the key above.
class HandshakeVectorTest : public ::testing::TestWithParam<Vector> {};

INSTANTIATE_TEST_SUITE_P(
    CPython, HandshakeVectorTest,
    ::testing::Values(
        Vector{Counting(20), "", "ff63d69f0d1055b99f32d588bd840b74"},
        Vector{"{md5}" + Counting(40), "{md5}",
               "f70bfd024a752d679558d6e9b3d092f6"},
        Vector{"{sha256}" + Counting(40), "{sha256}",
               "536016a8c32ca9231522a6e91ddbbd63"
               "7ba292f333e6fd43599971f107db3002"},
        Vector{"{sha384}" + Counting(40), "{sha384}",
               "9c51813cba2114994bc8e6d2537383996326f80de6f09640"
               "17d800aa31b1fdff7794f0c73f9bfb151e242ff6de6a256b"},
        Vector{"{sha3_256}" + Counting(40), "{sha3_256}",
               "0e54ef968cbfdb4b61e5e6b129fd1690"
               "2d209abcb02b4cd38f262af77b284f3d"},
        Vector{"{sha3_384}" + Counting(40), "{sha3_384}",
               "d115a2144989ca46a7d66205043eb6a83d557340c1525ce0"
               "b54b7e75fbfb7d73332e7288b0029d047c9a4f3d4a0871ba"}));

TEST_P(HandshakeVectorTest, AnswerIsCPythons) {
  EXPECT_THAT(AnswerTo(GetParam().challenge, Key(), /*allow_md5=*/true),
              IsOkAndHolds(GetParam().answer()));
}

TEST_P(HandshakeVectorTest, AnswerIsRightWithItsKeyOnly) {
  const auto& [challenge, prefix, hex] = GetParam();
  const std::string answer = GetParam().answer();
  EXPECT_THAT(CheckAnswer(answer, challenge, Key(), true), IsOk());
  EXPECT_THAT(
      CheckAnswer(answer, challenge, AuthKey::FromBytes("abracadabrA"), true),
      StatusIs(kUnauthenticated, HasSubstr("another key")));
  EXPECT_THAT(CheckAnswer(answer, challenge + "x", Key(), true),
              StatusIs(kUnauthenticated));
  EXPECT_THAT(CheckAnswer(answer + "x", challenge, Key(), true),
              StatusIs(kUnauthenticated));
  EXPECT_THAT(
      CheckAnswer(answer.substr(0, answer.size() - 1), challenge, Key(), true),
      StatusIs(kUnauthenticated));
}

TEST_P(HandshakeVectorTest, Md5IsRefusedUnlessAllowed) {
  const bool is_md5 = GetParam().prefix.empty() || GetParam().prefix == "{md5}";
  const auto answer = AnswerTo(GetParam().challenge, Key(), false);
  const auto check =
      CheckAnswer(GetParam().answer(), GetParam().challenge, Key(), false);
  if (is_md5) {
    EXPECT_THAT(answer, StatusIs(kUnauthenticated, HasSubstr(".allow_md5")));
    EXPECT_THAT(check, StatusIs(kUnauthenticated, HasSubstr(".allow_md5")));
  } else {
    EXPECT_THAT(answer, IsOk());
    EXPECT_THAT(check, IsOk());
  }
}

// What CPython before 3.12 answers to a challenge of today.
TEST(HandshakeAnswerTest, OldAnswerToANewChallenge) {
  EXPECT_THAT(
      CheckAnswer(absl::HexStringToBytes("7690e2569f3bc902fa21a77cf545d7f6"),
                  "{sha256}" + Counting(40), Key(), /*allow_md5=*/true),
      IsOk());
}

TEST(HandshakeAnswerTest, WhatIsNoChallengeIsRefused) {
  for (const absl::string_view challenge :
       {"", "{", "short", "{sha256}0123456789", "no braces, but long enough",
        "{sha1}0123456789012345678901234567890123456789",
        "{sha512}0123456789012345678901234567890123456789",
        "{}0123456789012345678901234567890123456789",
        "{SHA256}0123456789012345678901234567890123456789",
        "{sha3_256 }0123456789012345678901234567890123456789"}) {
    EXPECT_THAT(AnswerTo(challenge, Key(), true), StatusIs(kUnauthenticated))
        << challenge;
  }
}

// 20 bytes are an old one, whatever they begin with: as CPython has it.
TEST(HandshakeAnswerTest, TwentyBytesAreAnOldChallenge) {
  EXPECT_THAT(
      AnswerTo("{sha256}" + Counting(12), Key(), true),
      IsOkAndHolds(*Hmac("md5", "abracadabra", "{sha256}" + Counting(12))));
}

TEST(HandshakeAnswerTest, AnEmptyKeyIsAKey) {
  const std::string challenge = "{sha256}" + Counting(40);
  const auto answer = AnswerTo(challenge, AuthKey(), false);
  ASSERT_THAT(answer, IsOk());
  EXPECT_THAT(CheckAnswer(*answer, challenge, AuthKey(), false), IsOk());
  EXPECT_THAT(CheckAnswer(*answer, challenge, Key(), false),
              StatusIs(kUnauthenticated));
}

// Passes messages to and fro until neither has one. Returns how many.
int Converse(Handshake& listener, Handshake& client) {
  std::string message = listener.Start();
  client.Start();
  int count = 0;
  for (; !message.empty(); ++count) {
    message = (count % 2 == 0 ? client : listener).Receive(message);
    // A verdict is followed by a message of the other's own.
    if (count == 2 && message.empty()) break;
  }
  return count;
}

TEST(HandshakeTest, BothProveToHaveTheKey) {
  Handshake listener(Role::kListener, Key(), {});
  Handshake client(Role::kClient, Key(), {});
  const std::string first = listener.Start();
  EXPECT_EQ(first.size(), 59);
  EXPECT_THAT(first, StartsWith("#CHALLENGE#{sha256}"));
  EXPECT_EQ(client.Start(), "");
  const std::string answer = client.Receive(first);
  EXPECT_EQ(answer.size(), 40);
  const std::string verdict = listener.Receive(answer);
  EXPECT_EQ(verdict, "#WELCOME#");
  const std::string second = client.Receive(verdict);
  EXPECT_THAT(second, StartsWith("#CHALLENGE#{sha256}"));
  EXPECT_NE(second, first);
  EXPECT_FALSE(listener.finished());
  const std::string last = client.Receive(listener.Receive(second));
  EXPECT_EQ(last, "#WELCOME#");
  EXPECT_TRUE(client.finished());
  EXPECT_THAT(client.status(), IsOk());
  EXPECT_EQ(listener.Receive(last), "");
  EXPECT_TRUE(listener.finished());
  EXPECT_THAT(listener.status(), IsOk());
}

TEST(HandshakeTest, AnotherKeyIsRefusedOnBothSides) {
  Handshake listener(Role::kListener, Key(), {});
  Handshake client(Role::kClient, AuthKey::FromBytes("simsalabim"), {});
  Converse(listener, client);
  ASSERT_TRUE(listener.finished());
  EXPECT_THAT(listener.status(),
              StatusIs(kUnauthenticated, HasSubstr("another key")));
  ASSERT_TRUE(client.finished());
  EXPECT_THAT(client.status(),
              StatusIs(kUnauthenticated, HasSubstr("another key")));
  for (const absl::Status& status : {listener.status(), client.status()}) {
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("abracadabra")));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("simsalabim")));
  }
}

// A listener that has no key says "welcome" to anything. It has yet to answer.
TEST(HandshakeTest, WelcomeAloneIsNoProof) {
  Handshake client(Role::kClient, Key(), {});
  client.Start();
  client.Receive("#CHALLENGE#{sha256}" + Counting(40));
  client.Receive("#WELCOME#");
  EXPECT_FALSE(client.finished());
  EXPECT_EQ(client.Receive("{sha256}" + std::string(32, 'x')), "#FAILURE#");
  EXPECT_TRUE(client.finished());
  EXPECT_THAT(client.status(), StatusIs(kUnauthenticated));
}

TEST(HandshakeTest, GarbageInAnyPlaceIsRefused) {
  for (const absl::string_view garbage :
       {"", "x", "#CHALLENGE#", "#WELCOME", "#WELCOME#x", "#FAILURE#",
        "{sha256}", "{sha256", "0123456789abcdef", "{md5}0123456789abcdef"}) {
    for (int step = 0; step < 3; ++step) {
      Handshake listener(Role::kListener, Key(), {.allow_md5 = true});
      Handshake client(Role::kClient, Key(), {.allow_md5 = true});
      std::string to_client = listener.Start();
      for (int i = 0; i < step; ++i) {
        to_client = listener.Receive(client.Receive(to_client));
      }
      Handshake& victim = step == 2 ? listener : client;
      if (step == 2) {
        // The verdict is what the listener waits for at last.
        client.Receive(to_client);
      }
      victim.Receive(garbage);
      EXPECT_TRUE(victim.finished()) << step << garbage;
      EXPECT_THAT(victim.status(), StatusIs(kUnauthenticated));
    }
  }
}

// One who has no key connects the client to itself: it gives the client's own
// challenge back to another connection of that client, and so learns its answer.
TEST(HandshakeTest, ReflectedChallengeIsNotAnswered) {
  Handshake first(Role::kClient, Key(), {});
  first.Start();
  first.Receive("#CHALLENGE#{sha256}" + Counting(40));
  const std::string challenge = first.Receive("#WELCOME#");
  ASSERT_THAT(challenge, StartsWith("#CHALLENGE#"));
  Handshake second(Role::kClient, Key(), {});
  second.Start();
  EXPECT_EQ(second.Receive(challenge), "");
  EXPECT_THAT(second.status(),
              StatusIs(kUnauthenticated, HasSubstr("reflects")));
}

// Neither in one connection.
TEST(HandshakeTest, OwnChallengeIsNotAnswered) {
  Handshake listener(Role::kListener, Key(), {});
  const std::string challenge = listener.Start();
  EXPECT_EQ(listener.Receive(challenge), "#FAILURE#");
  EXPECT_THAT(listener.status(), StatusIs(kUnauthenticated));
}

TEST(HandshakeTest, NoTwoChallengesAreTheSame) {
  std::set<std::string> challenges;
  for (int i = 0; i < 100; ++i) {
    challenges.insert(Handshake(Role::kListener, Key(), {}).Start());
  }
  EXPECT_EQ(challenges.size(), 100);
}

TEST(HandshakeTest, AsksForTheDigestThatItIsToldTo) {
  for (const char* digest : {"sha256", "sha384", "sha3_256", "sha3_384"}) {
    Handshake deliver(Role::kDeliver, Key(), {.digest = digest});
    Handshake answer(Role::kAnswer, Key(), {});
    const std::string reply = answer.Receive(deliver.Start());
    EXPECT_THAT(reply, StartsWith(absl::StrCat("{", digest, "}")));
    answer.Receive(deliver.Receive(reply));
    EXPECT_THAT(deliver.status(), IsOk());
    EXPECT_TRUE(answer.finished());
    EXPECT_THAT(answer.status(), IsOk());
  }
}

}  // namespace
}  // namespace mp::internal
