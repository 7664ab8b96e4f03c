#include "mp/ipc/connection.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/pipe.h"
#include "mp/process/fields.h"
#include "mp/process/serializer.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/signal_storm.h"
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
using ::mp::testing::WasKilledBy;
using ::testing::_;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(20);

struct Ends {
  Connection a;
  Connection b;
};

Ends MakePipe(bool duplex = true) {
  absl::StatusOr<std::pair<Connection, Connection>> ends = Pipe(duplex);
  MP_CHECK_OK(ends);
  return {std::move(ends->first), std::move(ends->second)};
}

class ConnectionTest : public ::testing::Test {
 protected:
  // The arena that the first pipe brings about stays.
  ConnectionTest() : leak_check_((MakePipe(), absl::Seconds(10))) {}

  LeakCheck leak_check_;
};

struct Point {
  int x = 0;
  std::string label;
  MP_FIELDS(x, label)
};

TEST_F(ConnectionTest, CarriesValuesBothWays) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.Send(42), IsOk());
  ASSERT_THAT(ends.b.Send(std::string("answer")), IsOk());
  EXPECT_THAT(ends.b.Recv<int>(), IsOkAndHolds(42));
  EXPECT_THAT(ends.a.Recv<std::string>(), IsOkAndHolds("answer"));
  ASSERT_THAT(ends.a.Send("a literal"), IsOk());
  EXPECT_THAT(ends.b.Recv<std::string>(), IsOkAndHolds("a literal"));
  ASSERT_THAT(ends.a.Send(Point{3, "p"}), IsOk());
  const absl::StatusOr<Point> point = ends.b.Recv<Point>();
  ASSERT_THAT(point, IsOk());
  EXPECT_EQ(point->x, 3);
  EXPECT_EQ(point->label, "p");
}

TEST_F(ConnectionTest, CarriesBytesOfAnyLength) {
  Ends ends = MakePipe();
  for (size_t size : {0, 1, 16384, 16385, 1 << 20, 16 << 20}) {
    const std::string bytes(size, 'x');
    std::thread sender([&] { EXPECT_THAT(ends.a.SendBytes(bytes), IsOk()); });
    const absl::StatusOr<std::string> got = ends.b.RecvBytes(kLong);
    sender.join();
    ASSERT_THAT(got, IsOk());
    EXPECT_TRUE(*got == bytes) << size;
  }
}

TEST_F(ConnectionTest, WritesCPythonsFrames) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.SendBytes("hello"), IsOk());
  char bytes[9];
  ASSERT_EQ(read(ends.b.fileno(), bytes, sizeof(bytes)), 9);
  EXPECT_EQ(absl::string_view(bytes, 9), absl::string_view("\0\0\0\5hello", 9));
}

TEST_F(ConnectionTest, WrongTypeIsAnErrorAndTheNextMessageArrives) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.Send(1.5), IsOk());
  ASSERT_THAT(ends.a.Send(7), IsOk());
  EXPECT_THAT(ends.b.Recv<int>(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int")));
  EXPECT_THAT(ends.b.Recv<int>(), IsOkAndHolds(7));
}

TEST_F(ConnectionTest, BytesThatAreNoValueAreDataLoss) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.SendBytes("abc"), IsOk());
  EXPECT_THAT(ends.b.Recv<int>(), StatusIs(absl::StatusCode::kDataLoss, _));
  ASSERT_THAT(ends.a.Send(7), IsOk());
  EXPECT_THAT(ends.b.Recv<int>(), IsOkAndHolds(7));
}

TEST_F(ConnectionTest, RecvTimesOutAndLosesNothing) {
  Ends ends = MakePipe();
  const absl::Time start = absl::Now();
  EXPECT_THAT(ends.b.Recv<int>(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_GE(absl::Now() - start, kShort);
  // The first half of a message, the time, and the second half.
  ASSERT_THAT(WriteAll(ends.a.fileno(), absl::string_view("\0\0\0\5he", 6)),
              IsOk());
  EXPECT_THAT(ends.b.RecvBytes(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  ASSERT_THAT(WriteAll(ends.a.fileno(), "llo"), IsOk());
  EXPECT_THAT(ends.b.RecvBytes(kLong), IsOkAndHolds("hello"));
}

TEST_F(ConnectionTest, SendTimesOutAndLosesNothing) {
  Ends ends = MakePipe();
  const std::string bytes(20000, 'x');
  int sent = 0;
  absl::Status status;
  while ((status = ends.a.SendBytes(bytes, kShort)).ok()) ++sent;
  ASSERT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  // What was accepted arrives, and nothing else.
  while (sent-- > 0) EXPECT_THAT(ends.b.RecvBytes(kLong), IsOkAndHolds(bytes));
  if (absl::StrContains(status.message(), "middle")) {
    // Nobody can tell where the next message would begin.
    EXPECT_THAT(ends.a.SendBytes("more"),
                StatusIs(absl::StatusCode::kFailedPrecondition, _));
  } else {
    EXPECT_THAT(ends.b.Poll(), IsOkAndHolds(false));
    ASSERT_THAT(ends.a.SendBytes("more"), IsOk());
    EXPECT_THAT(ends.b.RecvBytes(kLong), IsOkAndHolds("more"));
  }
}

TEST_F(ConnectionTest, EndOfTheOtherSide) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.Send(1), IsOk());
  ends.a.Close();
  ends.a.Close();
  EXPECT_THAT(ends.b.Send(2), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(ends.b.Recv<int>(), IsOkAndHolds(1));
  EXPECT_THAT(ends.b.Poll(), IsOkAndHolds(true));
  EXPECT_THAT(ends.b.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
  EXPECT_THAT(ends.b.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST_F(ConnectionTest, ClosedEndRefusesEverything) {
  Ends ends = MakePipe();
  ends.a.Close();
  EXPECT_TRUE(ends.a.closed());
  EXPECT_EQ(ends.a.fileno(), -1);
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed"));
  EXPECT_THAT(ends.a.Send(1), refused);
  EXPECT_THAT(ends.a.Recv<int>(), refused);
  EXPECT_THAT(ends.a.SendBytes(""), refused);
  EXPECT_THAT(ends.a.RecvBytes(), refused);
  EXPECT_THAT(ends.a.Poll(), refused);
  EXPECT_THAT(ends.b.Send(ends.a), refused);
}

TEST_F(ConnectionTest, OneWayPipeGoesOneWay) {
  Ends ends = MakePipe(/*duplex=*/false);
  EXPECT_TRUE(ends.a.readable());
  EXPECT_FALSE(ends.a.writable());
  EXPECT_FALSE(ends.b.readable());
  EXPECT_TRUE(ends.b.writable());
  ASSERT_THAT(ends.b.Send(5), IsOk());
  EXPECT_THAT(ends.a.Recv<int>(), IsOkAndHolds(5));
  EXPECT_THAT(ends.a.Send(5), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("read-only")));
  EXPECT_THAT(
      ends.b.Recv<int>(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("write-only")));
  ends.b.Close();
  EXPECT_THAT(ends.a.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST_F(ConnectionTest, PollSeesMessagesAndEmptyOnesToo) {
  Ends ends = MakePipe();
  EXPECT_THAT(ends.b.Poll(), IsOkAndHolds(false));
  EXPECT_THAT(ends.b.Poll(absl::Seconds(-1)), IsOkAndHolds(false));
  ASSERT_THAT(ends.a.SendBytes(""), IsOk());
  EXPECT_THAT(ends.b.Poll(kLong), IsOkAndHolds(true));
  EXPECT_THAT(ends.b.Poll(), IsOkAndHolds(true));
  EXPECT_THAT(ends.b.RecvBytes(), IsOkAndHolds(""));
  EXPECT_THAT(ends.b.Poll(), IsOkAndHolds(false));
}

// CPython: test_poll_eintr
TEST_F(ConnectionTest, PollGoesOnAfterSignals) {
  Ends ends = MakePipe();
  const testing::SignalStorm storm;
  const absl::Time start = absl::Now();
  EXPECT_THAT(ends.b.Poll(absl::Milliseconds(50)), IsOkAndHolds(false));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(50));
  ASSERT_THAT(ends.a.Send(1), IsOk());
  EXPECT_THAT(ends.b.Poll(kLong), IsOkAndHolds(true));
  EXPECT_THAT(ends.b.Recv<int>(), IsOkAndHolds(1));
}

// CPython: test_strings, of _TestPoll
TEST_F(ConnectionTest, EmptyMessagesAreMessagesAmongOthers) {
  Ends ends = MakePipe();
  const std::vector<std::string> sent = {"hello", "", "a", "b", "", "bye", ""};
  Child sender = RunInChild([&]() -> absl::Status {
    for (const std::string& text : sent) {
      MP_RETURN_IF_ERROR(ends.a.SendBytes(text));
    }
    return absl::OkStatus();
  });
  for (const std::string& text : sent) {
    EXPECT_THAT(ends.b.Poll(kLong), IsOkAndHolds(true));
    EXPECT_THAT(ends.b.RecvBytes(), IsOkAndHolds(text));
  }
  EXPECT_THAT(sender.Wait(), ExitedWith(0));
}

// CPython: test_context, of _TestConnection
TEST_F(ConnectionTest, ClosesWithItsScope) {
  Ends ends = MakePipe();
  {
    const Connection scoped = std::move(ends.a);
    EXPECT_TRUE(ends.a.closed());
    EXPECT_FALSE(scoped.closed());
  }
  EXPECT_THAT(ends.b.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
  EXPECT_THAT(ends.a.Recv<int>(),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_F(ConnectionTest, MessageAboveTheLimitIsRefused) {
  Ends ends = MakePipe();
  ASSERT_THAT(ends.a.SendBytes("12345"), IsOk());
  EXPECT_THAT(ends.b.RecvBytes(kLong, /*max_bytes=*/4),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("5")));
  EXPECT_THAT(ends.b.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(ends.b.Send(1), IsOk());
}

TEST_F(ConnectionTest, ConnectionTravelsThroughAConnection) {
  Ends outer = MakePipe();
  Ends inner = MakePipe();
  ASSERT_THAT(outer.a.Send(inner.b), IsOk());
  absl::StatusOr<Connection> arrived = outer.b.Recv<Connection>();
  ASSERT_THAT(arrived, IsOk());
  inner.b.Close();
  ASSERT_THAT(inner.a.Send("for the traveller"), IsOk());
  EXPECT_THAT(arrived->Recv<std::string>(), IsOkAndHolds("for the traveller"));
  arrived->Close();
  EXPECT_THAT(inner.a.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST_F(ConnectionTest, DirectionTravelsToo) {
  Ends outer = MakePipe();
  Ends inner = MakePipe(/*duplex=*/false);
  ASSERT_THAT(outer.a.Send(inner.a), IsOk());
  const absl::StatusOr<Connection> arrived = outer.b.Recv<Connection>();
  ASSERT_THAT(arrived, IsOk());
  EXPECT_TRUE(arrived->readable());
  EXPECT_FALSE(arrived->writable());
}

TEST_F(ConnectionTest, HundredsOfConnectionsTravelInOneMessage) {
  Ends outer = MakePipe();
  std::vector<Connection> many;
  std::vector<Connection> others;
  for (int i = 0; i < 300; ++i) {
    Ends ends = MakePipe();
    many.push_back(std::move(ends.a));
    others.push_back(std::move(ends.b));
  }
  ASSERT_THAT(outer.a.Send(many), IsOk());
  auto arrived = outer.b.Recv<std::vector<Connection>>();
  ASSERT_THAT(arrived, IsOk());
  ASSERT_EQ(arrived->size(), 300);
  for (int i = 0; i < 300; ++i) {
    ASSERT_THAT((*arrived)[i].Send(i), IsOk());
    EXPECT_THAT(others[i].Recv<int>(), IsOkAndHolds(i));
  }
}

TEST_F(ConnectionTest, HalfReceivedMessageKeepsAConnectionHere) {
  Ends outer = MakePipe();
  Ends inner = MakePipe();
  ASSERT_THAT(WriteAll(inner.a.fileno(), absl::string_view("\0\0", 2)), IsOk());
  EXPECT_THAT(inner.b.RecvBytes(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_THAT(outer.a.Send(inner.b),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("part of a message")));
}

TEST_F(ConnectionTest, DescriptorsThatNobodyAskedForAreClosed) {
  Ends outer = MakePipe();
  Ends inner = MakePipe();
  ASSERT_THAT(outer.a.Send(inner.a), IsOk());
  EXPECT_THAT(outer.b.RecvBytes(), IsOk());
  // leak_check_ would see them.
}

TEST_F(ConnectionTest, WorksOverPipesWithoutDescriptors) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  absl::StatusOr<Connection> reader =
      Connection::FromFd(Fd(ends[0]), Connection::Direction::kReadOnly);
  absl::StatusOr<Connection> writer =
      Connection::FromFd(Fd(ends[1]), Connection::Direction::kWriteOnly);
  ASSERT_THAT(reader, IsOk());
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT(writer->Send(3), IsOk());
  EXPECT_THAT(reader->Recv<int>(), IsOkAndHolds(3));
  EXPECT_THAT(
      writer->Send(*reader),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Unix sockets")));
  reader->Close();
  EXPECT_THAT(writer->Send(3), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(ConnectionTest, FromFdWantsAnOpenDescriptor) {
  EXPECT_THAT(Connection::FromFd(Fd()),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(ConnectionTest, ThreadsThatSendAtOnceDoNotMixTheirMessages) {
  Ends ends = MakePipe();
  constexpr int kEach = 50;
  std::vector<std::thread> senders;
  for (char letter : {'a', 'b', 'c', 'd'}) {
    senders.emplace_back([&ends, letter] {
      for (int i = 0; i < kEach; ++i) {
        MP_CHECK_OK(ends.a.Send(std::string(100'000, letter)));
      }
    });
  }
  std::map<char, int> count;
  for (int i = 0; i < 4 * kEach; ++i) {
    const absl::StatusOr<std::string> text = ends.b.Recv<std::string>(kLong);
    ASSERT_THAT(text, IsOk());
    ASSERT_EQ(text->find_first_not_of(text->front()), std::string::npos);
    ++count[text->front()];
  }
  for (std::thread& sender : senders) sender.join();
  for (const auto& [letter, messages] : count) EXPECT_EQ(messages, kEach);
}

TEST_F(ConnectionTest, WaitingForAnotherThreadsTurnTimesOut) {
  Ends ends = MakePipe();
  std::thread receiver(
      [&] { EXPECT_THAT(ends.b.Recv<int>(kLong), IsOkAndHolds(1)); });
  // Whether it is the other thread that waits or the message that is missing.
  EXPECT_THAT(ends.b.Recv<int>(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  ASSERT_THAT(ends.a.Send(1), IsOk());
  receiver.join();
}

TEST_F(ConnectionTest, MessageOutlivesItsSender) {
  Ends ends = MakePipe();
  Child sender = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(ends.a.Send("kept"));
    raise(SIGKILL);
    return absl::OkStatus();
  });
  ends.a.Close();
  EXPECT_THAT(sender.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(ends.b.Recv<std::string>(), IsOkAndHolds("kept"));
  EXPECT_THAT(ends.b.Recv<int>(), StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST_F(ConnectionTest, SenderKilledInAMessageLeavesDataLoss) {
  Ends ends = MakePipe();
  Child sender = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(
        WriteAll(ends.a.fileno(), absl::string_view("\0\0\0\5he", 6)));
    raise(SIGKILL);
    return absl::OkStatus();
  });
  ends.a.Close();
  EXPECT_THAT(sender.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(ends.b.RecvBytes(), StatusIs(absl::StatusCode::kDataLoss, _));
}

TEST_F(ConnectionTest, ReceiverThatIsKilledEndsAWaitingSend) {
  Ends ends = MakePipe();
  Child receiver = RunInChild([&]() -> absl::Status {
    ends.a.Close();
    MP_RETURN_IF_ERROR(ends.b.Send("ready"));
    pause();
    return absl::OkStatus();
  });
  ends.b.Close();
  ASSERT_THAT(ends.a.Recv<std::string>(kLong), IsOk());
  std::thread killer([&] { receiver.Kill(SIGKILL); });
  absl::Status status;
  while ((status = ends.a.SendBytes(std::string(1 << 16, 'x'))).ok()) {
  }
  killer.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(receiver.Wait(), WasKilledBy(SIGKILL));
}

}  // namespace
}  // namespace mp
