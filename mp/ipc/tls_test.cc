#include "mp/ipc/tls.h"

#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/auth_key.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

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
using ::mp::testing::Scaled;
using ::mp::testing::SignalStorm;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::HasSubstr;

constexpr absl::Duration kShort = absl::Milliseconds(20);

constexpr absl::string_view kSecret = "a key of thirty-two bytes, or so";

TlsOptions ByKey(absl::string_view secret = kSecret) {
  return {.authkey = AuthKey::FromBytes(secret)};
}

Address Loopback(uint16_t port = 0) { return *Address::Tcp("127.0.0.1", port); }

TlsListener Listen(const TlsOptions& options = ByKey()) {
  absl::StatusOr<TlsListener> listener =
      TlsListener::Create(Loopback(), options);
  MP_CHECK_OK(listener);
  return *std::move(listener);
}

std::string Pattern(size_t size, char seed) {
  std::string text(size, seed);
  for (size_t i = 0; i < size; i += 4093) text[i] = static_cast<char>(i / 4093);
  return text;
}

// A listener here, a client in a child, and the connection between them.
class TlsTest : public ::testing::Test {
 protected:
  // What connections share stays.
  static void SetUpTestSuite() { MP_CHECK_OK(Pipe()); }

  // Has a child connect and do `body` with the connection.
  void StartClient(
      absl::FunctionRef<absl::Status(Connection& connection)> body) {
    child_.emplace(RunInChild([&]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(Connection connection,
                          TlsClient(listener_.address(), ByKey(), kLong));
      return body(connection);
    }));
    absl::StatusOr<Connection> accepted = listener_.Accept(kLong);
    MP_CHECK_OK(accepted);
    connection_ = *std::move(accepted);
  }

  LeakCheck leak_check_;
  TlsListener listener_ = Listen();
  std::optional<Child> child_;
  Connection connection_;
};

absl::Status Echo(Connection& connection) {
  while (true) {
    absl::StatusOr<std::string> got = connection.RecvBytes(kLong);
    if (absl::IsOutOfRange(got.status())) return absl::OkStatus();
    MP_RETURN_IF_ERROR(got.status());
    MP_RETURN_IF_ERROR(connection.SendBytes(*got, kLong));
  }
}

TEST_F(TlsTest, CarriesMessagesBothWays) {
  StartClient(Echo);
  for (const size_t size : {0, 1, 16379, 16380, 16381, 65536, 1 << 20}) {
    const std::string sent = Pattern(size, 'x');
    ASSERT_THAT(connection_.SendBytes(sent, kLong), IsOk());
    absl::StatusOr<std::string> got = connection_.RecvBytes(kLong);
    ASSERT_THAT(got, IsOk());
    EXPECT_TRUE(*got == sent) << size;
  }
  ASSERT_THAT(connection_.Send(std::vector<int>{4, 2}, kLong), IsOk());
  EXPECT_THAT(connection_.Recv<std::vector<int>>(kLong),
              IsOkAndHolds(std::vector<int>{4, 2}));
  connection_.Close();
  EXPECT_THAT(child_->Wait(), ExitedWith(0));
}

TEST_F(TlsTest, AnOrderlyEndIsOutOfRangeAfterAllThatWasSent) {
  StartClient([](Connection& connection) -> absl::Status {
    MP_RETURN_IF_ERROR(connection.SendBytes("first", kLong));
    MP_RETURN_IF_ERROR(connection.SendBytes("last", kLong));
    connection.Close();
    return absl::OkStatus();
  });
  EXPECT_THAT(child_->Wait(), ExitedWith(0));
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("last"));
  EXPECT_THAT(connection_.Poll(kLong), IsOkAndHolds(true));
  EXPECT_THAT(connection_.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(connection_.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
}

// Sends until that fails, which the kernel's buffers put off.
absl::Status SendUntilError(Connection& connection) {
  while (true) {
    MP_RETURN_IF_ERROR(connection.SendBytes(std::string(1 << 16, 'x'), kLong));
  }
}

TEST_F(TlsTest, AKilledPeerIsUnavailableAfterAllThatItSent) {
  StartClient([](Connection& connection) -> absl::Status {
    MP_RETURN_IF_ERROR(connection.SendBytes("last", kLong));
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child_->Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("last"));
  EXPECT_THAT(
      connection_.RecvBytes(kLong),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("without a goodbye")));
  EXPECT_THAT(SendUntilError(connection_),  // and no SIGPIPE
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(TlsTest, APeerKilledInAMessageIsDataLoss) {
  StartClient([](Connection& connection) -> absl::Status {
    // Nobody reads, and no buffer takes so much.
    connection.SendBytes(std::string(64 << 20, 'x'), kShort).IgnoreError();
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(child_->Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(connection_.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(TlsTest, LargeMessagesGoBothWaysAtOnce) {
  const size_t size = size_t{1} << (20 + (Scaled(60, 60) == 60 ? 6 : 3));
  const auto exchange = [size](Connection& connection, char mine,
                               char others) -> absl::Status {
    absl::Status sent;
    std::thread sender(
        [&] { sent = connection.SendBytes(Pattern(size, mine), kLong); });
    const absl::StatusOr<std::string> got = connection.RecvBytes(kLong);
    sender.join();
    MP_RETURN_IF_ERROR(sent);
    MP_RETURN_IF_ERROR(got.status());
    return *got == Pattern(size, others)
               ? absl::OkStatus()
               : absl::DataLossError("not what was sent");
  };
  StartClient(
      [&](Connection& connection) { return exchange(connection, 'c', 's'); });
  EXPECT_THAT(exchange(connection_, 's', 'c'), IsOk());
  EXPECT_THAT(child_->Wait(), ExitedWith(0));
}

TEST_F(TlsTest, OneWhoWaitsToReceiveDoesNotKeepOthersFromSending) {
  StartClient(Echo);
  absl::StatusOr<std::string> got;
  std::thread receiver([&] { got = connection_.RecvBytes(kLong); });
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(connection_.Poll(absl::ZeroDuration()), IsOk());
  }
  EXPECT_THAT(connection_.SendBytes("go", kLong), IsOk());
  receiver.join();
  EXPECT_THAT(got, IsOkAndHolds("go"));
}

TEST_F(TlsTest, ManyThreadsShareAConnection) {
  StartClient(Echo);
  constexpr int kThreads = 4;
  const int messages = Scaled(200, 2000);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < messages; ++k) {
        EXPECT_THAT(connection_.SendBytes(std::string(100, 'm'), kLong),
                    IsOk());
      }
    });
    threads.emplace_back([&] {
      for (int k = 0; k < messages; ++k) {
        EXPECT_THAT(connection_.RecvBytes(kLong),
                    IsOkAndHolds(std::string(100, 'm')));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TlsTest, NothingIsLostAtADeadlineOfTheReceiver) {
  StartClient(Echo);
  EXPECT_THAT(connection_.RecvBytes(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(connection_.Poll(kShort), IsOkAndHolds(false));
  ASSERT_THAT(connection_.SendBytes("x", kLong), IsOk());
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("x"));
}

TEST_F(TlsTest, ADeadlineOfTheSenderHolds) {
  StartClient([](Connection&) -> absl::Status {
    pause();  // until it is killed
    return absl::OkStatus();
  });
  const std::string message(1 << 16, 'x');
  absl::Status sent;
  while (sent.ok()) sent = connection_.SendBytes(message, kShort);
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kDeadlineExceeded));
  // It went out before the first byte of a message or within one.
  EXPECT_THAT(
      connection_.SendBytes(std::string(64 << 20, 'x'), kShort),
      ::testing::AnyOf(StatusIs(absl::StatusCode::kDeadlineExceeded),
                       StatusIs(absl::StatusCode::kFailedPrecondition)));
}

TEST_F(TlsTest, SignalsDoNotDisturb) {
  StartClient(Echo);
  SignalStorm storm;
  const int rounds = Scaled(200, 2000);
  for (int i = 0; i < rounds; ++i) {
    ASSERT_THAT(connection_.SendBytes(std::string(20000, 's'), kLong), IsOk());
    ASSERT_THAT(connection_.RecvBytes(kLong),
                IsOkAndHolds(std::string(20000, 's')));
  }
}

TEST_F(TlsTest, NeitherDescriptorsNorTheConnectionTravel) {
  StartClient(Echo);
  absl::StatusOr<std::pair<Connection, Connection>> pipe = Pipe();
  ASSERT_THAT(pipe, IsOk());
  EXPECT_THAT(connection_.Send(pipe->first),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("TLS")));
  EXPECT_THAT(pipe->first.Send(connection_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("a Connection over TLS cannot be sent")));
  ASSERT_THAT(connection_.SendBytes("still there", kLong), IsOk());
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("still there"));
}

TEST_F(TlsTest, AForkedChildCannotUseItAndDoesNotEndIt) {
  StartClient(Echo);
  Child forked = RunInChild([&] {
    EXPECT_THAT(connection_.SendBytes("of a child"),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(connection_.RecvBytes(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(listener_.Accept(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    connection_.Close();
    listener_.Close();
    return absl::OkStatus();
  });
  EXPECT_THAT(forked.Wait(), ExitedWith(0));
  ASSERT_THAT(connection_.SendBytes("of the parent", kLong), IsOk());
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("of the parent"));
  Child client = RunInChild(
      [&] { return TlsClient(listener_.address(), ByKey(), kLong).status(); });
  EXPECT_THAT(listener_.Accept(kLong), IsOk());
}

TEST_F(TlsTest, AConnectionOutlivesItsListener) {
  StartClient(Echo);
  listener_.Close();
  ASSERT_THAT(connection_.SendBytes("x", kLong), IsOk());
  EXPECT_THAT(connection_.RecvBytes(kLong), IsOkAndHolds("x"));
}

// Two clients at once, so that the first may be through before or after the
// second has come.
TEST_F(TlsTest, ServesSeveralClients) {
  std::vector<Child> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(RunInChild([&, i]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(Connection connection,
                          TlsClient(listener_.address(), ByKey(), kLong));
      return connection.Send(i, kLong);
    }));
  }
  std::vector<int> numbers;
  for (int i = 0; i < 4; ++i) {
    absl::StatusOr<Connection> connection = listener_.Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    EXPECT_EQ(listener_.last_accepted()->name(), "127.0.0.1");
    absl::StatusOr<int> number = connection->Recv<int>(kLong);
    ASSERT_THAT(number, IsOk());
    numbers.push_back(*number);
  }
  EXPECT_THAT(numbers, ::testing::UnorderedElementsAre(0, 1, 2, 3));
}

TEST_F(TlsTest, CloseEndsAnAccept) {
  absl::Status accepted;
  std::thread acceptor([&] { accepted = listener_.Accept(kLong).status(); });
  listener_.Close();
  acceptor.join();
  EXPECT_THAT(accepted, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(listener_.closed());
  EXPECT_THAT(TlsClient(listener_.address(), ByKey(), kLong),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("nobody listens there")));
}

TEST_F(TlsTest, AcceptWaitsNoLongerThanItIsTold) {
  EXPECT_THAT(listener_.Accept(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(listener_.Accept(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(TlsOptionsTest, WantFriendsToBeToldFromStrangers) {
  const auto listen_and_connect = [](const TlsOptions& options,
                                     const auto& matcher) {
    EXPECT_THAT(TlsListener::Create(Loopback(), options), matcher);
    EXPECT_THAT(TlsClient(Loopback(1), options, kLong), matcher);
  };
  const auto refused = [](absl::string_view why) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    HasSubstr(std::string(why)));
  };
  listen_and_connect({}, refused("set .authkey, or .certificate_file"));
  listen_and_connect({.authkey = AuthKey()}, refused("authkey has 0 bytes"));
  listen_and_connect({.certificate_file = "/a"}, refused("all three"));
  listen_and_connect({.authkey = AuthKey::FromBytes("x"), .ca_file = "/a"},
                     refused("take one of them"));
  listen_and_connect({.authkey = AuthKey::FromBytes("x"),
                      .handshake_timeout = absl::ZeroDuration()},
                     refused("handshake_timeout is 0"));
  EXPECT_THAT(TlsListener::Create({}, ByKey()), refused("TCP"));
  EXPECT_THAT(TlsClient(*Address::Unix("/tmp/x"), ByKey()), refused("TCP"));
}

TEST(TlsOptionsTest, AShortKeyIsForThisMachineOnly) {
  const TlsOptions guessable = ByKey("fifteen bytes..");
  EXPECT_THAT(TlsListener::Create(*Address::Tcp("0.0.0.0", 0), guessable),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("authkey has 15 bytes, between machines at "
                                 "least 16 are needed")));
  EXPECT_THAT(TlsListener::Create(*Address::Tcp("0.0.0.0", 0),
                                  ByKey("sixteen bytes...")),
              IsOk());
  EXPECT_THAT(TlsListener::Create(Loopback(), guessable), IsOk());
}

// What a process started by each method does.
void ConnectAndDouble(Address address, std::string secret) {
  absl::StatusOr<Connection> connection =
      TlsClient(address, ByKey(secret), kLong);
  MP_CHECK_OK(connection);
  absl::StatusOr<int> number = connection->Recv<int>(kLong);
  MP_CHECK_OK(number);
  MP_CHECK_OK(connection->Send(2 * *number, kLong));
}

class TlsStartMethodTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(TlsStartMethodTest, AllStartMethods);

TEST_P(TlsStartMethodTest, ConnectsToItsParent) {
  TlsListener listener = Listen();
  Process process(options(), ConnectAndDouble, listener.address(),
                  std::string(kSecret));
  ASSERT_THAT(process.Start(), IsOk());
  {
    absl::StatusOr<Connection> connection = listener.Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    ASSERT_THAT(connection->Send(21, kLong), IsOk());
    EXPECT_THAT(connection->Recv<int>(kLong), IsOkAndHolds(42));
    EXPECT_THAT(connection->RecvBytes(kLong),
                StatusIs(absl::StatusCode::kOutOfRange));
  }
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

}  // namespace
}  // namespace mp
