#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

// What holds where several processes use the same end of a connection.
namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr absl::Duration kShort = absl::Milliseconds(20);

// More than a socket holds, so that one who sends it stays in the middle of it
// until somebody receives.
constexpr size_t kLarge = 5 << 20;

// One letter, some times: what is mixed with another is seen.
std::string MessageOf(char letter, size_t size) {
  return std::string(size, letter);
}

bool IsOneMessage(absl::string_view text) {
  return !text.empty() &&
         text.find_first_not_of(text.front()) == absl::string_view::npos;
}

// Sizes around what goes at once, and far beyond.
const std::vector<size_t>& Sizes() {
  static const auto& sizes = *new std::vector<size_t>{
      1, 100, 5000, 32760, 32764, 32768, 40000, 100'000, 300'000, 1'000'000};
  return sizes;
}

class ConnectionSharingTest : public ::testing::Test {
 protected:
  ConnectionSharingTest() {
    MP_CHECK_OK(Pipe());  // the first one brings about an arena, which stays
    leak_check_.emplace();
    auto ends = Pipe();
    MP_CHECK_OK(ends);
    a_ = std::move(ends->first);
    b_ = std::move(ends->second);
  }

  // A child that sends through `a_`, and is in the middle of it.
  Child StartSendingLarge() {
    Child child =
        RunInChild([&] { return a_.SendBytes(MessageOf('x', kLarge)); });
    EXPECT_THAT(b_.Poll(kLong), IsOkAndHolds(true));
    return child;
  }

  // A child that receives from `b_`, and has half a message.
  Child StartReceivingHalf() {
    Child child = RunInChild([&] { return b_.RecvBytes().status(); });
    EXPECT_THAT(WriteAll(a_.fileno(), absl::string_view("\0\0\0\5he", 6)),
                IsOk());
    AwaitTaken();
    return child;
  }

  // Waits until somebody has taken all that was sent to `b_`.
  void AwaitTaken() {
    int left = 1;
    while (left != 0) {
      absl::SleepFor(absl::Milliseconds(1));
      ASSERT_EQ(ioctl(b_.fileno(), FIONREAD, &left), 0);
    }
  }

  std::optional<LeakCheck> leak_check_;
  Connection a_;
  Connection b_;
};

// ---- Senders

class SharedEndTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SharedEndTest, AllStartMethods);

absl::Status SendAllSizes(Connection connection, char letter, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (const size_t size : Sizes()) {
      MP_RETURN_IF_ERROR(
          connection.SendBytes(MessageOf(letter, size + letter)));
    }
  }
  return absl::OkStatus();
}

TEST_P(SharedEndTest, MessagesOfSeveralSendersDoNotMix) {
  constexpr int kSenders = 3;
  const int rounds = testing::Scaled(4, 40);
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  // All of them have the same end: each is started with one that came through a
  // connection.
  auto courier = Pipe();
  ASSERT_THAT(courier, IsOk());
  std::vector<Process> processes;
  for (int i = 0; i < kSenders; ++i) {
    ASSERT_THAT(courier->first.Send(ends->first), IsOk());
    auto copy = courier->second.Recv<Connection>();
    ASSERT_THAT(copy, IsOk());
    processes.emplace_back(options(), SendAllSizes, *std::move(copy),
                           static_cast<char>('a' + i), rounds);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  ends->first.Close();
  size_t count = 0;
  absl::StatusOr<std::string> text;
  while ((text = ends->second.RecvBytes(kLong)).ok()) {
    ASSERT_TRUE(IsOneMessage(*text)) << "of " << text->size() << " bytes";
    ++count;
  }
  EXPECT_THAT(text, StatusIs(absl::StatusCode::kOutOfRange, _));
  EXPECT_EQ(count, kSenders * rounds * Sizes().size());
  for (Process& process : processes) {
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(0));
  }
}

// Counts what comes until the end.
absl::Status CountMessages(Connection from, Connection to) {
  int count = 0;
  absl::StatusOr<std::string> text;
  while ((text = from.RecvBytes()).ok()) {
    if (!IsOneMessage(*text)) return absl::InternalError("mixed");
    ++count;
  }
  if (!absl::IsOutOfRange(text.status())) return text.status();
  return to.Send(count);
}

TEST_P(SharedEndTest, EachMessageGoesToOneOfSeveralReceivers) {
  constexpr int kReceivers = 3;
  const int rounds = testing::Scaled(6, 60);
  auto ends = Pipe();
  auto courier = Pipe();
  ASSERT_THAT(ends, IsOk());
  ASSERT_THAT(courier, IsOk());
  std::vector<Process> processes;
  std::vector<Connection> results;
  for (int i = 0; i < kReceivers; ++i) {
    ASSERT_THAT(courier->first.Send(ends->second), IsOk());
    auto copy = courier->second.Recv<Connection>();
    auto result = Pipe();
    ASSERT_THAT(copy, IsOk());
    ASSERT_THAT(result, IsOk());
    results.push_back(std::move(result->first));
    processes.emplace_back(options(), CountMessages, *std::move(copy),
                           std::move(result->second));
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  ends->second.Close();
  ASSERT_THAT(SendAllSizes(std::move(ends->first), 'x', rounds), IsOk());
  int total = 0;
  for (int i = 0; i < kReceivers; ++i) {
    const absl::StatusOr<int> count = results[i].Recv<int>(kLong);
    ASSERT_THAT(count, IsOk());
    total += *count;
    ASSERT_THAT(processes[i].Join(kLong), IsOk());
  }
  EXPECT_EQ(total, rounds * static_cast<int>(Sizes().size()));
}

TEST_F(ConnectionSharingTest, ForkedChildTakesTurnsToo) {
  Child child = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 10; ++i) {
      MP_RETURN_IF_ERROR(a_.SendBytes(MessageOf('c', 200'000)));
    }
    return absl::OkStatus();
  });
  std::thread sender([&] {
    for (int i = 0; i < 10; ++i) {
      EXPECT_THAT(a_.SendBytes(MessageOf('p', 200'000)), IsOk());
    }
  });
  for (int i = 0; i < 20; ++i) {
    const absl::StatusOr<std::string> text = b_.RecvBytes(kLong);
    ASSERT_THAT(text, IsOk());
    ASSERT_EQ(text->size(), 200'000);
    ASSERT_TRUE(IsOneMessage(*text));
  }
  sender.join();
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(ConnectionSharingTest, WaitingForAnotherProcessesTurnTimesOut) {
  Child child = StartSendingLarge();
  EXPECT_THAT(a_.SendBytes("y", kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("another process")));
  EXPECT_THAT(b_.RecvBytes(kLong), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  ASSERT_THAT(a_.SendBytes("y", kLong), IsOk());
  EXPECT_THAT(b_.RecvBytes(kLong), IsOkAndHolds("y"));
}

// ---- Deaths

TEST_F(ConnectionSharingTest, SenderKilledInAMessageIsToldToTheReceiver) {
  Child child = StartSendingLarge();
  std::thread killer([&] { child.Kill(SIGKILL); });
  // This process has the sender's end too, and does nothing with it.
  EXPECT_THAT(b_.RecvBytes(), StatusIs(absl::StatusCode::kDataLoss,
                                       HasSubstr(absl::StrCat(child.pid()))));
  killer.join();
  EXPECT_THAT(b_.RecvBytes(),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  // The other way is whole.
  ASSERT_THAT(b_.Send(1), IsOk());
  EXPECT_THAT(a_.Recv<int>(kLong), IsOkAndHolds(1));
}

TEST_F(ConnectionSharingTest, SenderKilledInAMessageIsToldToTheOtherSenders) {
  Child child = StartSendingLarge();
  child.Kill(SIGKILL);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(a_.SendBytes("y"),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr(absl::StrCat(child.pid()))));
  }
  EXPECT_THAT(b_.RecvBytes(), StatusIs(absl::StatusCode::kDataLoss, _));
}

TEST_F(ConnectionSharingTest, WaitingSenderLearnsThatTheOneBeforeItWasKilled) {
  Child first = StartSendingLarge();
  std::thread killer([&] { first.Kill(SIGKILL); });
  EXPECT_THAT(a_.SendBytes("y"),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  killer.join();
}

TEST_F(ConnectionSharingTest, ReceiverKilledInAMessageIsToldToTheOthers) {
  Child child = StartReceivingHalf();
  child.Kill(SIGKILL);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(b_.RecvBytes(), StatusIs(absl::StatusCode::kDataLoss,
                                         HasSubstr(absl::StrCat(child.pid()))));
  }
  EXPECT_THAT(b_.Poll(), IsOkAndHolds(true));
  EXPECT_THAT(a_.SendBytes("y"), StatusIs(absl::StatusCode::kUnavailable, _));
  ASSERT_THAT(b_.Send(1), IsOk());
  EXPECT_THAT(a_.Recv<int>(kLong), IsOkAndHolds(1));
}

TEST_F(ConnectionSharingTest, ReceiverKilledInAMessageEndsAWaitingSend) {
  Child child = StartReceivingHalf();
  child.Kill(SIGKILL);
  // This process has the receiver's end too, and does nothing with it.
  EXPECT_THAT(a_.SendBytes(MessageOf('x', kLarge)),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(absl::StrCat(child.pid()))));
}

TEST_F(ConnectionSharingTest, ReceiverKilledWhileItWaitsCostsNothing) {
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(b_.Send("ready"));
    return b_.RecvBytes().status();
  });
  ASSERT_THAT(a_.Recv<std::string>(kLong), IsOk());
  child.Kill(SIGKILL);
  child.Wait();
  ASSERT_THAT(a_.SendBytes("for the next"), IsOk());
  EXPECT_THAT(b_.RecvBytes(kLong), IsOkAndHolds("for the next"));
}

// One that is killed while it sends what goes at once leaves all or nothing.
TEST_F(ConnectionSharingTest, SendersOfShortMessagesCutNothing) {
  const int kills = testing::Scaled(60, 2000);
  for (int i = 0; i < kills; ++i) {
    Child child = RunInChild([&]() -> absl::Status {
      while (true) {
        for (const size_t size : {1, 3000, 32764}) {
          MP_RETURN_IF_ERROR(a_.SendBytes(MessageOf('x', size)));
        }
      }
    });
    for (int j = 0; j < 20 + i % 7; ++j) {
      const absl::StatusOr<std::string> text = b_.RecvBytes(kLong);
      ASSERT_THAT(text, IsOk());
      ASSERT_TRUE(IsOneMessage(*text));
    }
    child.Kill(SIGKILL);
    child.Wait();
  }
  Child last = RunInChild([&] { return a_.SendBytes("last"); });
  absl::StatusOr<std::string> text;
  do {
    text = b_.RecvBytes(kLong);
    ASSERT_THAT(text, IsOk());
  } while (*text != "last");
  EXPECT_THAT(last.Wait(), ExitedWith(0));
}

// Whatever the moment, each message that is received is a whole one, and nobody
// hangs.
TEST_F(ConnectionSharingTest, KilledAtAnyMomentNothingIsMixed) {
  const int kills = testing::Scaled(30, 1000);
  for (int i = 0; i < kills; ++i) {
    auto ends = Pipe();
    ASSERT_THAT(ends, IsOk());
    const auto send = [&](char letter) {
      ends->second.Close();
      absl::Status status;
      while (status.ok()) {
        for (const size_t size : Sizes()) {
          status.Update(ends->first.SendBytes(MessageOf(letter, size), kLong));
        }
      }
      return status;
    };
    Child victim = RunInChild([&] { return send('v'); });
    Child other = RunInChild([&]() -> absl::Status {
      const absl::Status end = send('o');
      const bool is_told =
          absl::IsFailedPrecondition(end) || absl::IsUnavailable(end);
      return is_told ? absl::OkStatus() : end;
    });
    absl::StatusOr<std::string> text;
    for (int j = 0; j < 1000; ++j) {
      if (j == 3 + i % 11) victim.Kill(SIGKILL);
      text = ends->second.RecvBytes(kLong);
      if (!text.ok()) break;
      ASSERT_TRUE(IsOneMessage(*text));
    }
    if (!text.ok()) {
      ASSERT_TRUE(absl::IsDataLoss(text.status()) ||
                  absl::IsOutOfRange(text.status()))
          << text.status();
    }
    ends->second.Close();  // ends the other, if nothing was cut
    EXPECT_THAT(other.Wait(), ExitedWith(0));
  }
}

// ---- Ends that give up

TEST_F(ConnectionSharingTest, SendThatTimesOutInAMessageIsToldToTheReceiver) {
  ASSERT_THAT(a_.SendBytes(MessageOf('x', kLarge), kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_THAT(b_.RecvBytes(), StatusIs(absl::StatusCode::kDataLoss, _));
  Child child = RunInChild([&] { return a_.SendBytes("y"); });
  EXPECT_THAT(child.Wait(), ExitedWith(1));
}

TEST_F(ConnectionSharingTest, HalfAMessageKeepsTheTurn) {
  ASSERT_THAT(WriteAll(a_.fileno(), absl::string_view("\0\0\0\5he", 6)),
              IsOk());
  ASSERT_THAT(b_.RecvBytes(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  // A forked child has a copy of the half, which is not its own.
  Child child = RunInChild([&]() -> absl::Status {
    const absl::Status late = b_.RecvBytes(kShort).status();
    return absl::IsDeadlineExceeded(late) ? absl::OkStatus() : late;
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  ASSERT_THAT(WriteAll(a_.fileno(), "llo"), IsOk());
  EXPECT_THAT(b_.RecvBytes(kLong), IsOkAndHolds("hello"));
}

TEST_F(ConnectionSharingTest, EndClosedInAMessageIsToldToTheOthers) {
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(b_.Poll(kLong).status());
    const absl::Status late = b_.RecvBytes(kShort).status();
    b_.Close();
    return absl::IsDeadlineExceeded(late) ? absl::OkStatus() : late;
  });
  ASSERT_THAT(WriteAll(a_.fileno(), absl::string_view("\0\0\0\5he", 6)),
              IsOk());
  ASSERT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(b_.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(a_.SendBytes("y"), StatusIs(absl::StatusCode::kUnavailable, _));
}

// ---- Ends made of descriptors

TEST_F(ConnectionSharingTest, EndThatIsInUseIsSharedFromThenOn) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  absl::StatusOr<Connection> a = Connection::FromFd(Fd(sockets[0]));
  absl::StatusOr<Connection> b = Connection::FromFd(Fd(sockets[1]));
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  // One thread is in the middle of a message as the end is sent away.
  std::thread sender(
      [&] { EXPECT_THAT(a->SendBytes(MessageOf('x', kLarge)), IsOk()); });
  ASSERT_THAT(b->Poll(kLong), IsOkAndHolds(true));
  ASSERT_THAT(a_.Send(*a), IsOk());
  absl::StatusOr<Connection> copy = b_.Recv<Connection>(kLong);
  ASSERT_THAT(copy, IsOk());
  EXPECT_THAT(copy->SendBytes("y", kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_THAT(b->RecvBytes(kLong), IsOk());
  sender.join();
  // That call gave the turn back.
  ASSERT_THAT(copy->SendBytes("y", kLong), IsOk());
  ASSERT_THAT(a->SendBytes("z", kLong), IsOk());
  EXPECT_THAT(b->RecvBytes(kLong), IsOkAndHolds("y"));
  EXPECT_THAT(b->RecvBytes(kLong), IsOkAndHolds("z"));
}

}  // namespace
}  // namespace mp
