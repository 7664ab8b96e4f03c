// What TLS is for: peers that are no friends, and a wire that is not ours.

#include <openssl/err.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/client.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/internal/stream_socket.h"
#include "mp/ipc/internal/tls_test_relay.h"
#include "mp/ipc/listener.h"
#include "mp/ipc/tls.h"
#include "mp/process/auth_key.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::ConnectSocket;
using ::mp::internal::TestRelay;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::mp::testing::TestSeed;
using ::mp::testing::WasKilledBy;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(50);

TlsOptions ByKey(
    absl::Duration handshake_timeout = kLong,
    absl::string_view secret = "a key of thirty-two bytes, or so") {
  return {.authkey = AuthKey::FromBytes(secret),
          .handshake_timeout = handshake_timeout};
}

Address Loopback() { return *Address::Tcp("127.0.0.1", 0); }

TlsListener Listen(const TlsOptions& options = ByKey()) {
  absl::StatusOr<TlsListener> listener =
      TlsListener::Create(Loopback(), options);
  MP_CHECK_OK(listener);
  return *std::move(listener);
}

Fd Connect(const Address& address) {
  absl::StatusOr<Fd> socket = ConnectSocket(address, Deadline(kLong));
  MP_CHECK_OK(socket);
  return *std::move(socket);
}

auto IsUnauthenticated(absl::string_view why) {
  return StatusIs(absl::StatusCode::kUnauthenticated,
                  HasSubstr(std::string(why)));
}

class TlsHostileTest : public ::testing::Test {
 protected:
  LeakCheck leak_check_;
};

TEST_F(TlsHostileTest, AnotherKeyIsRefusedOnBothSides) {
  TlsListener listener = Listen();
  Child stranger = RunInChild([&] {
    EXPECT_THAT(
        TlsClient(listener.address(),
                  ByKey(kLong, "another key of as many bytes ..."), kLong),
        IsUnauthenticated("the other end has another key"));
    return absl::OkStatus();
  });
  EXPECT_THAT(listener.Accept(kLong),
              IsUnauthenticated("the other end has another key"));
  EXPECT_THAT(stranger.Wait(), ExitedWith(0));
}

TEST_F(TlsHostileTest, AClientWithoutTlsIsRefused) {
  TlsListener listener = Listen();
  Child plain = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(Connection connection,
                        Client(listener.address(), {}, kLong));
    MP_RETURN_IF_ERROR(connection.SendBytes("let me in", kLong));
    EXPECT_THAT(connection.RecvBytes(kLong), ::testing::Not(IsOk()));
    return absl::OkStatus();
  });
  EXPECT_THAT(listener.Accept(kLong),
              IsUnauthenticated("the other end does not talk TLS"));
  EXPECT_THAT(plain.Wait(), ExitedWith(0));
}

TEST_F(TlsHostileTest, AServerWithoutTlsIsRefused) {
  absl::StatusOr<Listener> plain = Listener::Create(Loopback());
  ASSERT_THAT(plain, IsOk());
  Child client = RunInChild([&] {
    EXPECT_THAT(TlsClient(plain->address(), ByKey(), kLong),
                IsUnauthenticated("the other end does not talk TLS"));
    return absl::OkStatus();
  });
  absl::StatusOr<Connection> connection = plain->Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  ASSERT_THAT(connection->SendBytes("#CHALLENGE#{sha256} and so on"), IsOk());
  EXPECT_THAT(client.Wait(), ExitedWith(0));
}

TEST_F(TlsHostileTest, ASilentServerIsGivenUp) {
  absl::StatusOr<Listener> silent = Listener::Create(Loopback());
  ASSERT_THAT(silent, IsOk());
  EXPECT_THAT(TlsClient(silent->address(), ByKey(kShort), kLong),
              IsUnauthenticated("did not finish the handshake in 50ms"));
  EXPECT_THAT(TlsClient(silent->address(), ByKey(kLong), kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(TlsHostileTest, ASilentClientIsGivenUp) {
  TlsListener listener = Listen(ByKey(kShort));
  const Fd silent = Connect(listener.address());
  EXPECT_THAT(listener.Accept(kLong),
              IsUnauthenticated("did not finish the handshake in 50ms"));
}

TEST_F(TlsHostileTest, SilentClientsDoNotHoldUpOthers) {
  TlsListener listener = Listen();
  std::vector<Fd> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(Connect(listener.address()));
  EXPECT_THAT(listener.Accept(kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  Child friendly = RunInChild(
      [&] { return TlsClient(listener.address(), ByKey(), kLong).status(); });
  EXPECT_THAT(listener.Accept(kLong), IsOk());
  EXPECT_THAT(friendly.Wait(), ExitedWith(0));
}

TEST_F(TlsHostileTest, MoreSilentClientsThanMayBeInTheHandshakeDelayOthers) {
  TlsOptions options = ByKey(kShort);
  options.max_handshakes = 2;
  TlsListener listener = Listen(options);
  std::vector<Fd> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(Connect(listener.address()));
  Child friendly = RunInChild(
      [&] { return TlsClient(listener.address(), ByKey(), kLong).status(); });
  absl::StatusOr<Connection> accepted;
  int refused = 0;
  while (!(accepted = listener.Accept(kLong)).ok()) {
    ASSERT_THAT(accepted, IsUnauthenticated("did not finish"));
    ++refused;
  }
  EXPECT_GE(refused, 4);
}

TEST_F(TlsHostileTest, AClientThatHangsUpIsReported) {
  TlsListener listener = Listen();
  Connect(listener.address());  // and closes
  EXPECT_THAT(listener.Accept(kLong),
              IsUnauthenticated("hung up in the handshake"));
}

TEST_F(TlsHostileTest, AServerKilledInTheHandshakeIsUnavailable) {
  absl::StatusOr<Listener> server = Listener::Create(Loopback());
  ASSERT_THAT(server, IsOk());
  Child killed = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(Connection connection, server->Accept(kLong));
    // Something has come of the handshake.
    MP_RETURN_IF_ERROR(connection.Poll(kLong).status());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  const Address address = server->address();
  server->Close();  // ours
  EXPECT_THAT(TlsClient(address, ByKey(), kLong),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(killed.Wait(), WasKilledBy(SIGKILL));
}

// Whatever comes, a listener says no and goes on.
TEST_F(TlsHostileTest, RandomBytesAreRefused) {
  TlsListener listener = Listen(ByKey(kShort));
  uint64_t random = TestSeed();
  SCOPED_TRACE(random);
  const int rounds = Scaled(50, 2000);
  for (int i = 0; i < rounds; ++i) {
    std::string bytes(1 + random % 600, '\0');
    for (char& byte : bytes) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<char>(random >> 56);
    }
    // Half of them begin as a record of the handshake does.
    if (i % 2 == 0 && bytes.size() > 6) bytes.replace(0, 3, "\x16\x03\x01");
    const Fd socket = Connect(listener.address());
    ASSERT_THAT(WriteAll(socket.get(), bytes), IsOk());
    shutdown(socket.get(), SHUT_WR);
    ASSERT_THAT(listener.Accept(kLong), IsUnauthenticated(""));
  }
}

TEST_F(TlsHostileTest, TheErrorQueueIsLeftCleanAndADirtyOneDoesNoHarm) {
  TlsListener listener = Listen();
  ERR_raise(ERR_LIB_USER, 1);  // somebody else's
  Child stranger = RunInChild([&] {
    EXPECT_THAT(
        TlsClient(listener.address(),
                  ByKey(kLong, "another key of as many bytes ..."), kLong),
        IsUnauthenticated("the other end has another key"));
    EXPECT_EQ(ERR_peek_error(), 0);
    return absl::OkStatus();
  });
  EXPECT_THAT(listener.Accept(kLong),
              IsUnauthenticated("the other end has another key"));
  EXPECT_EQ(ERR_peek_error(), 0);
  EXPECT_THAT(stranger.Wait(), ExitedWith(0));
}

// A client sends "first" and "second" over a wire with somebody on it.
class TlsWireTest : public TlsHostileTest {
 protected:
  // Returns the server's end.
  Connection ConnectVia(TestRelay::Tamper tamper) {
    relay_.emplace(
        RunInChild([&] { return somebody_.Run(listener_.address(), tamper); }));
    client_.emplace(RunInChild([&]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(Connection connection,
                          TlsClient(somebody_.address(), ByKey(), kLong));
      MP_RETURN_IF_ERROR(connection.SendBytes("first", kLong));
      connection.SendBytes("second", kLong).IgnoreError();
      connection.RecvBytes(kLong).IgnoreError();  // until the end
      return absl::OkStatus();
    }));
    absl::StatusOr<Connection> accepted = listener_.Accept(kLong);
    MP_CHECK_OK(accepted);
    return *std::move(accepted);
  }

  TestRelay somebody_;
  TlsListener listener_ = Listen();
  std::optional<Child> relay_;
  std::optional<Child> client_;
};

TEST_F(TlsWireTest, CarriesWhatIsNotTouched) {
  Connection connection = ConnectVia([](int, std::string&) { return true; });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("second"));
  connection.Close();
  EXPECT_THAT(client_->Wait(), ExitedWith(0));
}

TEST_F(TlsWireTest, ACutBetweenMessagesIsNoOrderlyEnd) {
  Connection connection =
      ConnectVia([](int number, std::string&) { return number < 1; });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("somebody in between cut it off")));
}

TEST_F(TlsWireTest, ACutInAMessageIsDataLoss) {
  Connection connection = ConnectVia([](int number, std::string& record) {
    if (number < 2) return true;
    record.resize(record.size() / 2);
    return false;
  });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(connection.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(TlsWireTest, AChangedByteIsDataLoss) {
  Connection connection = ConnectVia([](int number, std::string& record) {
    if (number == 2) record.back() ^= 1;
    return true;
  });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("the other end did not send")));
}

TEST_F(TlsWireTest, ARepeatedRecordIsDataLoss) {
  Connection connection = ConnectVia([](int number, std::string& record) {
    if (number == 1) record += record;
    return true;
  });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(TlsWireTest, ShowsNothingOfTheMessages) {
  Connection connection = ConnectVia([](int, std::string& record) {
    EXPECT_EQ(record.find("first"), std::string::npos);
    EXPECT_EQ(record.find("second"), std::string::npos);
    return true;
  });
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("first"));
  EXPECT_THAT(connection.RecvBytes(kLong), IsOkAndHolds("second"));
  connection.Close();
  EXPECT_THAT(relay_->Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp
