// A Listener with a key, and clients that are not what they should be.

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
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
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/client.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/listener.h"
#include "mp/process/auth_key.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::StatusCode kUnauthenticated =
    absl::StatusCode::kUnauthenticated;
constexpr absl::Duration kLong = absl::Seconds(60);

class ListenerHandshakeTest : public ::testing::Test {
 protected:
  void Listen(ListenerOptions options = {}, const Address& address = {}) {
    options.authkey = key_;
    auto listener = Listener::Create(address, options);
    ASSERT_THAT(listener, IsOk());
    listener_.emplace(*std::move(listener));
  }

  // Connects without a handshake.
  Connection Stranger() {
    auto stranger = Client(listener_->address(), {.any_user = true}, kLong);
    EXPECT_THAT(stranger, IsOk());
    return *std::move(stranger);
  }

  // Connects as one should, which takes an Accept().
  std::thread Friend() {
    return std::thread([this] {
      auto connection =
          Client(listener_->address(),
                 {.authkey = key_, .handshake_timeout = kLong}, kLong);
      ASSERT_THAT(connection, IsOk());
      EXPECT_THAT(connection->SendBytes("hello"), IsOk());
    });
  }

  // Accepts one who is a friend. What others do is an error of the test.
  void AcceptFriend() {
    auto connection = listener_->Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
  }

  LeakCheck leak_check_;
  const AuthKey key_ = AuthKey::Random();
  std::optional<Listener> listener_;
};

TEST_F(ListenerHandshakeTest, SilentClientsHoldNobodyUp) {
  for (const Address& address : {Address(), *Address::Tcp("127.0.0.1", 0)}) {
    Listen({.handshake_timeout = absl::Hours(1)}, address);
    std::vector<Connection> silent;
    for (int i = 0; i < 20; ++i) silent.push_back(Stranger());
    for (int i = 0; i < 3; ++i) {
      std::thread client = Friend();
      AcceptFriend();
      client.join();
    }
    listener_.reset();
  }
}

// Each byte of it comes, and the last one never.
TEST_F(ListenerHandshakeTest, ClientThatDripsHoldsNobodyUp) {
  Listen({.handshake_timeout = absl::Hours(1)});
  Connection slow = Stranger();
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(WriteAll(slow.fileno(), absl::string_view("\0", 1)), IsOk());
    std::thread client = Friend();
    AcceptFriend();
    client.join();
  }
}

TEST_F(ListenerHandshakeTest, SilentClientIsSentAway) {
  Listen({.handshake_timeout = absl::Milliseconds(20)});
  Connection silent = Stranger();
  const absl::Time start = absl::Now();
  EXPECT_THAT(
      listener_->Accept(kLong),
      StatusIs(kUnauthenticated, AllOf(StartsWith("Listener::Accept: client"),
                                       HasSubstr("in time"))));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(19));
  EXPECT_THAT(silent.RecvBytes(kLong), IsOk());  // the challenge
  EXPECT_THAT(silent.RecvBytes(kLong), StatusIs(absl::StatusCode::kOutOfRange));
}

// Whoever has got all the room has it for their time only.
TEST_F(ListenerHandshakeTest, SilentClientsInAllPlacesAreSentAway) {
  Listen({.handshake_timeout = absl::Milliseconds(200), .max_handshakes = 3});
  std::vector<Connection> silent;
  for (int i = 0; i < 7; ++i) silent.push_back(Stranger());
  std::thread client = Friend();
  absl::StatusOr<Connection> connection = absl::UnknownError("");
  do {
    connection = listener_->Accept(kLong);
  } while (absl::IsUnauthenticated(connection.status()));
  EXPECT_THAT(connection, IsOk());
  client.join();
}

// With no room for another client the socket is not even looked at.
TEST_F(ListenerHandshakeTest, FullRoomDoesNotSpin) {
  Listen({.handshake_timeout = absl::Hours(1), .max_handshakes = 1});
  const Connection first = Stranger();
  const Connection second = Stranger();
  EXPECT_THAT(listener_->Accept(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(
      WaitForFd(listener_->fileno(), POLLIN, Deadline(absl::ZeroDuration())),
      IsOkAndHolds(false));
}

// One who is silent is sent away in time also where nobody else comes, and the
// program waits by poll(2) instead of in Accept().
TEST_F(ListenerHandshakeTest, DescriptorPollsWhenTimeIsUp) {
  Listen({.handshake_timeout = absl::Milliseconds(20), .max_handshakes = 1});
  const Connection silent = Stranger();
  absl::Status status;
  do {
    ASSERT_THAT(WaitForFd(listener_->fileno(), POLLIN, Deadline(kLong)),
                IsOkAndHolds(true));
    status = listener_->Accept(absl::ZeroDuration()).status();
  } while (absl::IsDeadlineExceeded(status));
  EXPECT_THAT(status, StatusIs(kUnauthenticated));
}

TEST_F(ListenerHandshakeTest, GarbageIsRefused) {
  Listen();
  for (const std::string& garbage :
       {std::string("x"), std::string("#WELCOME#"), std::string(32, 'x'),
        std::string(16, 'x'), std::string(257, 'x'), std::string()}) {
    Connection stranger = Stranger();
    ASSERT_THAT(stranger.SendBytes(garbage), IsOk());
    EXPECT_THAT(listener_->Accept(kLong), StatusIs(kUnauthenticated))
        << garbage;
  }
  // No message, by its header.
  Connection stranger = Stranger();
  ASSERT_THAT(WriteAll(stranger.fileno(), "GET / HTTP/1.1\r\n\r\n"), IsOk());
  EXPECT_THAT(listener_->Accept(kLong), StatusIs(kUnauthenticated));
}

// Descriptors that come along are not kept.
TEST_F(ListenerHandshakeTest, DescriptorsInTheHandshakeAreClosed) {
  Listen();
  Connection stranger = Stranger();
  auto fd = Fd::DupOf(0);
  ASSERT_THAT(fd, IsOk());
  ASSERT_THAT(stranger.Send(*fd), IsOk());
  EXPECT_THAT(listener_->Accept(kLong), StatusIs(kUnauthenticated));
}

TEST_F(ListenerHandshakeTest, ClientWithoutAKeySeesTheChallenge) {
  Listen();
  Connection stranger = Stranger();
  EXPECT_THAT(listener_->Accept(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(stranger.RecvBytes(kLong),
              IsOkAndHolds(StartsWith("#CHALLENGE#{sha256}")));
  ASSERT_THAT(stranger.SendBytes("hello"), IsOk());
  EXPECT_THAT(listener_->Accept(kLong), StatusIs(kUnauthenticated));
  EXPECT_THAT(stranger.RecvBytes(kLong), IsOkAndHolds("#FAILURE#"));
  EXPECT_THAT(stranger.RecvBytes(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
}

// The client answers nothing, as it is killed after so many messages.
class KilledClientTest : public ListenerHandshakeTest,
                         public ::testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(Messages, KilledClientTest, ::testing::Range(0, 3));

TEST_P(KilledClientTest, CostsNobodyAnything) {
  Listen();
  auto connected = Marker::Create();
  ASSERT_THAT(connected, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(
        Connection connection,
        Client(listener_->address(), {.any_user = true}, kLong));
    MP_RETURN_IF_ERROR(connected->Signal());
    if (GetParam() > 0)
      MP_RETURN_IF_ERROR(connection.RecvBytes(kLong).status());
    if (GetParam() > 1) {
      // Half an answer.
      MP_RETURN_IF_ERROR(WriteAll(connection.fileno(),
                                  absl::string_view("\0\0\0\x28{sha", 8)));
    }
    raise(SIGKILL);
    return absl::OkStatus();
  });
  ASSERT_THAT(connected->Await(kLong), IsOk());
  EXPECT_THAT(listener_->Accept(kLong), StatusIs(kUnauthenticated));
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
  std::thread client = Friend();
  AcceptFriend();
  client.join();
}

TEST_F(ListenerHandshakeTest, KilledListenerEndsItsClients) {
  const Address address =
      *Address::Abstract(absl::StrCat("listener_handshake_test.", getpid()));
  auto listening = Marker::Create();
  ASSERT_THAT(listening, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(Listener listener, Listener::Create(address));
    MP_RETURN_IF_ERROR(listening->Signal());
    MP_ASSIGN_OR_RETURN(Connection client, listener.Accept(kLong));
    MP_RETURN_IF_ERROR(
        client.SendBytes("#CHALLENGE#{sha256}" + std::string(40, 'x')));
    MP_RETURN_IF_ERROR(client.RecvBytes(kLong).status());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  ASSERT_THAT(listening->Await(kLong), IsOk());
  EXPECT_THAT(
      Client(address, {.authkey = key_, .handshake_timeout = kLong}, kLong),
      StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGKILL));
}

// One who steals the place of a listener does not get far without the key.
TEST_F(ListenerHandshakeTest, ClientTellsAFakeListener) {
  auto fake = Listener::Create();
  ASSERT_THAT(fake, IsOk());
  std::thread client([&] {
    EXPECT_THAT(Client(fake->address(),
                       {.authkey = key_, .handshake_timeout = kLong}, kLong),
                StatusIs(kUnauthenticated));
  });
  auto victim = fake->Accept(kLong);
  ASSERT_THAT(victim, IsOk());
  ASSERT_THAT(victim->SendBytes("#CHALLENGE#{sha256}" + std::string(40, 'x')),
              IsOk());
  ASSERT_THAT(victim->RecvBytes(kLong), IsOk());
  ASSERT_THAT(victim->SendBytes("#WELCOME#"), IsOk());
  EXPECT_THAT(victim->RecvBytes(kLong),
              IsOkAndHolds(StartsWith("#CHALLENGE#")));
  ASSERT_THAT(victim->SendBytes("{sha256}" + std::string(32, 'x')), IsOk());
  EXPECT_THAT(victim->RecvBytes(kLong), IsOkAndHolds("#FAILURE#"));
  client.join();
}

// Two connections of one client, from which a fake listener makes one.
TEST_F(ListenerHandshakeTest, ChallengeIsNotReflected) {
  auto fake = Listener::Create();
  ASSERT_THAT(fake, IsOk());
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([&] {
      const absl::Status status =
          Client(fake->address(), {.authkey = key_, .handshake_timeout = kLong},
                 kLong)
              .status();
      if (absl::IsUnauthenticated(status)) {
        EXPECT_THAT(status, StatusIs(kUnauthenticated, HasSubstr("reflects")));
      } else {
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
      }
    });
  }
  auto first = fake->Accept(kLong);
  auto second = fake->Accept(kLong);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT(first->SendBytes("#CHALLENGE#{sha256}" + std::string(40, 'x')),
              IsOk());
  ASSERT_THAT(first->RecvBytes(kLong), IsOk());
  ASSERT_THAT(first->SendBytes("#WELCOME#"), IsOk());
  auto challenge = first->RecvBytes(kLong);
  ASSERT_THAT(challenge, IsOkAndHolds(StartsWith("#CHALLENGE#")));
  ASSERT_THAT(second->SendBytes(*challenge), IsOk());
  EXPECT_THAT(second->RecvBytes(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
  first->Close();
  for (std::thread& client : clients) client.join();
}

// Leaves this process without descriptors.
class NoDescriptors {
 public:
  NoDescriptors() {
    while (true) {
      Fd fd(dup(0));
      if (!fd.is_open()) break;
      fds_.push_back(std::move(fd));
    }
  }
  void Free(size_t count) { fds_.resize(fds_.size() - count); }

 private:
  std::vector<Fd> fds_;
};

TEST_F(ListenerHandshakeTest, WithoutDescriptorsClientsWait) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  for (const bool with_key : {true, false}) {
    auto listener = Listener::Create(
        {}, with_key ? ListenerOptions{.authkey = key_} : ListenerOptions());
    ASSERT_THAT(listener, IsOk());
    auto connected = Marker::Create();
    ASSERT_THAT(connected, IsOk());
    // Another process, as this one has no descriptor for it.
    Child child = RunInChild([&]() -> absl::Status {
      ClientOptions options = {.handshake_timeout = kLong};
      if (with_key) options.authkey = key_;
      return Client(listener->address(), options, kLong).status();
    });
    ASSERT_THAT(WaitForFd(listener->fileno(), POLLIN, Deadline(kLong)),
                IsOkAndHolds(true));
    {
      NoDescriptors none;
      const absl::Time start = absl::Now();
      EXPECT_THAT(
          listener->Accept(kLong),
          StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("accept")));
      // A loop around it does not spin.
      EXPECT_GE(absl::Now() - start, absl::Milliseconds(49));
      none.Free(1);
      EXPECT_THAT(listener->Accept(kLong), IsOk());
    }
    EXPECT_THAT(child.Wait(), ExitedWith(0));
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

// A client that resets its connection before it is accepted.
TEST_F(ListenerHandshakeTest, ConnectionThatIsResetIsNoErrorOfTheListener) {
  Listen({}, *Address::Tcp("127.0.0.1", 0));
  for (int i = 0; i < 3; ++i) {
    const Connection stranger = Stranger();
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(setsockopt(stranger.fileno(), SOL_SOCKET, SO_LINGER, &reset,
                         sizeof(reset)),
              0);
  }
  std::thread client = Friend();
  absl::StatusOr<Connection> connection = absl::UnknownError("");
  do {
    connection = listener_->Accept(kLong);
  } while (absl::IsUnauthenticated(connection.status()));
  EXPECT_THAT(connection, IsOk());
  client.join();
}

// What was begun in one Accept() goes on in the next.
TEST_F(ListenerHandshakeTest, ShortAcceptsMakeAWholeHandshake) {
  Listen();
  std::atomic<bool> connected = false;
  std::thread client([&] {
    EXPECT_THAT(Client(listener_->address(),
                       {.authkey = key_, .handshake_timeout = kLong}, kLong),
                IsOk());
    connected = true;
  });
  absl::StatusOr<Connection> connection = absl::UnknownError("");
  do {
    connection = listener_->Accept(absl::ZeroDuration());
  } while (absl::IsDeadlineExceeded(connection.status()));
  EXPECT_THAT(connection, IsOk());
  client.join();
}

TEST_F(ListenerHandshakeTest, EmptyKeyIsAKey) {
  auto listener = Listener::Create({}, {.authkey = AuthKey()});
  ASSERT_THAT(listener, IsOk());
  std::thread client([&] {
    EXPECT_THAT(Client(listener->address(), {.authkey = AuthKey()}, kLong),
                IsOk());
    EXPECT_THAT(Client(listener->address(), {.authkey = key_}, kLong),
                StatusIs(kUnauthenticated));
  });
  EXPECT_THAT(listener->Accept(kLong), IsOk());
  EXPECT_THAT(listener->Accept(kLong), StatusIs(kUnauthenticated));
  client.join();
}

}  // namespace
}  // namespace mp
