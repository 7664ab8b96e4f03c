#include "mp/ipc/listener.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::SignalStorm;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

// One of each family. (The folder for tests is too long a path.)
std::vector<Address> Families() {
  return {Address(),
          *Address::Unix(absl::StrCat("/tmp/mp_listener_test.", getpid())),
          *Address::Tcp("127.0.0.1", 0), *Address::Tcp("::1", 0)};
}

// Whether this machine has IPv6.
bool HasIpv6() { return Listener::Create(*Address::Tcp("::1", 0)).ok(); }

bool CanBeUsed(const Address& address) {
  if (address.name() != "::1" || HasIpv6()) return true;
  std::printf("there is no IPv6 here: nothing is tested over it\n");
  return false;
}

// Between this process and one of each start method.
class ListenerTest : public StartMethodTest {
 protected:
  ListenerTest() {
    Run([] {});  // a fork server may start, and stays
    leak_check_.emplace();
  }

 private:
  std::optional<LeakCheck> leak_check_;
};
MP_INSTANTIATE_TEST_SUITE(ListenerTest, AllStartMethods);

// Sends twice what it receives.
absl::Status Double(Address address, bool with_key) {
  ClientOptions options;
  if (with_key) options.authkey = CurrentProcess().authkey;
  MP_ASSIGN_OR_RETURN(Connection connection, Client(address, options, kLong));
  MP_ASSIGN_OR_RETURN(const int x, connection.Recv<int>(kLong));
  return connection.Send(2 * x);
}

TEST_P(ListenerTest, ExchangesMessagesOverEveryFamily) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    for (const bool with_key : {false, true}) {
      ListenerOptions listener_options;
      if (with_key) listener_options.authkey = CurrentProcess().authkey;
      auto listener = Listener::Create(address, listener_options);
      ASSERT_THAT(listener, IsOk());
      Process process(options(), Double, listener->address(), with_key);
      ASSERT_THAT(process.Start(), IsOk());
      auto connection = listener->Accept(kLong);
      ASSERT_THAT(connection, IsOk());
      ASSERT_THAT(connection->Send(21), IsOk());
      EXPECT_THAT(connection->Recv<int>(kLong), IsOkAndHolds(42));
      ASSERT_THAT(process.Join(kLong), IsOk());
      EXPECT_THAT(process.exitcode(), Optional(0));
    }
  }
}

TEST_P(ListenerTest, AnotherKeyIsRefusedOnBothSides) {
  auto listener =
      Listener::Create({}, {.authkey = AuthKey::FromBytes("abracadabra")});
  ASSERT_THAT(listener, IsOk());
  Process process(
      options(),
      [](Address address) {
        const absl::Status status =
            Client(address, {.authkey = AuthKey::FromBytes("simsalabim")},
                   kLong)
                .status();
        return absl::IsUnauthenticated(status)
                   ? absl::OkStatus()
                   : absl::InternalError(status.ToString());
      },
      listener->address());
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(
      listener->Accept(kLong),
      StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("another key")));
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

// Listens in a process of its own, and says where.
absl::Status ListenThere(Connection parent) {
  MP_ASSIGN_OR_RETURN(Listener listener, Listener::Create());
  MP_RETURN_IF_ERROR(parent.Send(listener.address()));
  MP_ASSIGN_OR_RETURN(Connection connection, listener.Accept(kLong));
  return connection.SendBytes("hello");
}

TEST_P(ListenerTest, AddressTravelsToOtherProcesses) {
  auto ours = Listener::Create();
  ASSERT_THAT(ours, IsOk());
  Process process(
      options(),
      [](Address address) -> absl::Status {
        MP_ASSIGN_OR_RETURN(Connection parent, Client(address, {}, kLong));
        return ListenThere(std::move(parent));
      },
      ours->address());
  ASSERT_THAT(process.Start(), IsOk());
  auto child = ours->Accept(kLong);
  ASSERT_THAT(child, IsOk());
  auto theirs = child->Recv<Address>(kLong);
  ASSERT_THAT(theirs, IsOk());
  auto connection = Client(*theirs, {}, kLong);
  ASSERT_THAT(connection, IsOk());
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
  ASSERT_THAT(process.Join(kLong), IsOk());
}

// Returns a socket that listens, at a port that the kernel chooses.
Fd ListeningSocket(uint32_t host) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(host);
  EXPECT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address),
                 sizeof(address)),
            0);
  EXPECT_EQ(listen(socket.get(), 8), 0);
  return socket;
}

absl::Status ServeOnce(Fd socket) {
  MP_ASSIGN_OR_RETURN(Listener listener, Listener::FromFd(std::move(socket)));
  MP_ASSIGN_OR_RETURN(Connection connection, listener.Accept(kLong));
  return connection.SendBytes("served");
}

TEST_P(ListenerTest, SocketThatListensServesInAnotherProcess) {
  Fd socket = ListeningSocket(INADDR_LOOPBACK);
  auto copy = socket.Dup();
  ASSERT_THAT(copy, IsOk());
  auto listener = Listener::FromFd(*std::move(copy));
  ASSERT_THAT(listener, IsOk());
  const Address address = listener->address();
  listener->Close();  // leaves the other descriptor as it is
  Process process(options(), ServeOnce, std::move(socket));
  ASSERT_THAT(process.Start(), IsOk());
  auto client = Client(address, {}, kLong);
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT(client->RecvBytes(kLong), IsOkAndHolds("served"));
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

TEST_P(ListenerTest, ForkedChildDoesNotKeepTheAddress) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
    const Address bound = listener->address();
    auto other = Listener::Create();
    ASSERT_THAT(other, IsOk());
    Process process(
        options(),
        [](Address wait_for) -> absl::Status {
          MP_ASSIGN_OR_RETURN(Connection parent, Client(wait_for, {}, kLong));
          MP_RETURN_IF_ERROR(parent.Send(0));
          return parent.Recv<int>(kLong).status();
        },
        other->address());
    ASSERT_THAT(process.Start(), IsOk());
    auto child = other->Accept(kLong);
    ASSERT_THAT(child, IsOk());
    ASSERT_THAT(child->Recv<int>(kLong), IsOk());
    // It runs, and the address is free as soon as we have closed it.
    listener->Close();
    EXPECT_THAT(Listener::Create(bound), IsOk());
    ASSERT_THAT(child->Send(0), IsOk());
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(0));
  }
}

class ListenerHereTest : public ::testing::Test {
  LeakCheck leak_check_;
};

TEST_F(ListenerHereTest, AddressIsForOneAtATime) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto first = Listener::Create(address);
    ASSERT_THAT(first, IsOk());
    EXPECT_THAT(Listener::Create(first->address()),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         HasSubstr(first->address().ToString())));
    // Nobody has disturbed it.
    EXPECT_THAT(first->Accept(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
}

TEST_F(ListenerHereTest, ClosedOneRefusesAll) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
    const Address bound = listener->address();
    EXPECT_FALSE(listener->closed());
    EXPECT_GE(listener->fileno(), 0);
    listener->Close();
    listener->Close();
    EXPECT_TRUE(listener->closed());
    EXPECT_EQ(listener->fileno(), -1);
    EXPECT_EQ(listener->address(), bound);
    EXPECT_THAT(
        listener->Accept(),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed")));
    const auto client = Client(bound, {}, kLong);
    EXPECT_THAT(client, StatusIs(bound.family() == Address::Family::kUnix
                                     ? absl::StatusCode::kNotFound
                                     : absl::StatusCode::kUnavailable,
                                 HasSubstr(bound.ToString())));
  }
}

TEST_F(ListenerHereTest, DefaultAddressesDiffer) {
  const auto first = Listener::Create();
  const auto second = Listener::Create();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(first->address(), second->address());
}

TEST_F(ListenerHereTest, NoClientInTimeIsSaid) {
  for (const bool with_key : {false, true}) {
    ListenerOptions options;
    if (with_key) options.authkey = AuthKey::Random();
    auto listener = Listener::Create({}, options);
    ASSERT_THAT(listener, IsOk());
    EXPECT_THAT(listener->Accept(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_THAT(listener->Accept(absl::Milliseconds(20)),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
}

// CPython's issue 14725.
TEST_F(ListenerHereTest, ClientThatIsGoneBeforeAcceptIsStillHeard) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
    auto client = Client(listener->address(), {}, kLong);
    ASSERT_THAT(client, IsOk());
    ASSERT_THAT(client->SendBytes("hello"), IsOk());
    client->Close();
    auto connection = listener->Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("hello"));
    EXPECT_THAT(connection->RecvBytes(kLong),
                StatusIs(absl::StatusCode::kOutOfRange));
  }
}

// CPython's issue 16955.
TEST_F(ListenerHereTest, PollSeesWhatWasSent) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
    auto client = Client(listener->address(), {}, kLong);
    ASSERT_THAT(client, IsOk());
    auto connection = listener->Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    EXPECT_THAT(client->Poll(), IsOkAndHolds(false));
    ASSERT_THAT(connection->SendBytes("hello"), IsOk());
    EXPECT_THAT(client->Poll(kLong), IsOkAndHolds(true));
  }
}

TEST_F(ListenerHereTest, KnowsTheLastClient) {
  auto listener = Listener::Create(*Address::Tcp("localhost", 0));
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(listener->address().name(), "127.0.0.1");
  EXPECT_NE(listener->address().port(), 0);
  EXPECT_EQ(listener->last_accepted(), std::nullopt);
  auto client = Client(listener->address(), {}, kLong);
  ASSERT_THAT(client, IsOk());
  ASSERT_THAT(listener->Accept(kLong), IsOk());
  const std::optional<Address> last = listener->last_accepted();
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->name(), "127.0.0.1");
  EXPECT_NE(last->port(), listener->address().port());
}

TEST_F(ListenerHereTest, ConnectionsCarryDescriptorsOverUnixSocketsOnly) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    auto listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
    auto client = Client(listener->address(), {}, kLong);
    ASSERT_THAT(client, IsOk());
    auto connection = listener->Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    auto fd = Fd::DupOf(0);
    ASSERT_THAT(fd, IsOk());
    const absl::Status sent = client->Send(*fd);
    if (address.family() == Address::Family::kTcp) {
      EXPECT_THAT(sent, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("Unix sockets only")));
      // Nothing was sent, and more can be.
      EXPECT_THAT(client->Send(7), IsOk());
      EXPECT_THAT(connection->Recv<int>(kLong), IsOkAndHolds(7));
    } else {
      EXPECT_THAT(sent, IsOk());
      EXPECT_THAT(connection->Recv<Fd>(kLong), IsOk());
    }
  }
}

TEST_F(ListenerHereTest, CloseEndsThoseWhoWait) {
  for (const bool with_key : {false, true}) {
    ListenerOptions options;
    if (with_key) options.authkey = AuthKey::Random();
    auto listener = Listener::Create({}, options);
    ASSERT_THAT(listener, IsOk());
    std::vector<std::thread> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.emplace_back([&] {
        EXPECT_THAT(listener->Accept(),
                    StatusIs(absl::StatusCode::kFailedPrecondition));
      });
    }
    listener->Close();
    for (std::thread& thread : waiting) thread.join();
  }
}

TEST_F(ListenerHereTest, ThreadsShareTheClients) {
  const AuthKey key = AuthKey::Random();
  auto listener = Listener::Create({}, {.authkey = key});
  ASSERT_THAT(listener, IsOk());
  constexpr int kThreads = 4;
  constexpr int kClients = 5;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < kClients; ++n) {
        auto connection = listener->Accept(kLong);
        ASSERT_THAT(connection, IsOk());
        EXPECT_THAT(connection->Send(1), IsOk());
      }
    });
    threads.emplace_back([&] {
      for (int n = 0; n < kClients; ++n) {
        auto connection = Client(listener->address(), {.authkey = key}, kLong);
        ASSERT_THAT(connection, IsOk());
        EXPECT_THAT(connection->Recv<int>(kLong), IsOkAndHolds(1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ListenerHereTest, SignalsDisturbNeitherSide) {
  for (const Address& address : Families()) {
    if (!CanBeUsed(address)) continue;
    const AuthKey key = AuthKey::Random();
    auto listener = Listener::Create(address, {.backlog = 1, .authkey = key});
    ASSERT_THAT(listener, IsOk());
    const SignalStorm storm;
    std::thread client([&] {
      for (int i = 0; i < 20; ++i) {
        EXPECT_THAT(Client(listener->address(), {.authkey = key}, kLong),
                    IsOk());
      }
    });
    for (int i = 0; i < 20; ++i) {
      EXPECT_THAT(listener->Accept(kLong), IsOk());
    }
    client.join();
  }
}

// A loop around poll(2) serves a listener as well.
TEST_F(ListenerHereTest, DescriptorPollsWhileThereIsSomethingToDo) {
  const AuthKey key = AuthKey::Random();
  auto listener = Listener::Create({}, {.authkey = key});
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(
      WaitForFd(listener->fileno(), POLLIN, Deadline(absl::ZeroDuration())),
      IsOkAndHolds(false));
  std::thread client([&] {
    EXPECT_THAT(Client(listener->address(), {.authkey = key}, kLong), IsOk());
  });
  absl::StatusOr<Connection> connection = absl::UnknownError("");
  do {
    ASSERT_THAT(WaitForFd(listener->fileno(), POLLIN, Deadline(kLong)),
                IsOkAndHolds(true));
    connection = listener->Accept(absl::ZeroDuration());
  } while (absl::IsDeadlineExceeded(connection.status()));
  EXPECT_THAT(connection, IsOk());
  client.join();
  EXPECT_THAT(
      WaitForFd(listener->fileno(), POLLIN, Deadline(absl::ZeroDuration())),
      IsOkAndHolds(false));
}

TEST_F(ListenerHereTest, TakesNoSocketThatDoesNotListen) {
  Fd plain(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_THAT(Listener::FromFd(std::move(plain)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no stream socket that listens")));
  EXPECT_THAT(Listener::FromFd(Fd()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      Listener::FromFd(ListeningSocket(INADDR_ANY)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("set .authkey")));
}

TEST_F(ListenerHereTest, OptionsAreChecked) {
  const auto create = [](const ListenerOptions& options) {
    return Listener::Create({}, options).status();
  };
  EXPECT_THAT(create({.backlog = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0")));
  EXPECT_THAT(create({.handshake_timeout = absl::ZeroDuration()}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("handshake_timeout")));
  EXPECT_THAT(create({.max_handshakes = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_handshakes")));
  EXPECT_THAT(Client(Address()), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("Listener::address()")));
}

TEST_F(ListenerHereTest, MovesAndReplaces) {
  auto first = Listener::Create();
  auto second = Listener::Create();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  const Address gone = second->address();
  const Address kept = first->address();
  *second = *std::move(first);
  EXPECT_EQ(second->address(), kept);
  EXPECT_TRUE(first->closed());  // NOLINT(bugprone-use-after-move)
  EXPECT_THAT(first->Accept(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Client(gone), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Client(kept), IsOk());
}

// The backlog is full, and nobody accepts.
TEST_F(ListenerHereTest, ClientDoesNotWaitForeverForRoom) {
  auto listener = Listener::Create({}, {.backlog = 1});
  ASSERT_THAT(listener, IsOk());
  std::vector<Connection> clients;
  absl::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    auto client = Client(listener->address(), {}, absl::Milliseconds(50));
    status = client.status();
    if (client.ok()) clients.push_back(*std::move(client));
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded));
  // When there is room, one who waits gets in.
  std::thread client(
      [&] { EXPECT_THAT(Client(listener->address(), {}, kLong), IsOk()); });
  for (size_t i = 0; i <= clients.size(); ++i) {
    EXPECT_THAT(listener->Accept(kLong), IsOk());
  }
  client.join();
}

TEST_F(ListenerHereTest, ClientWithAKeyIsNotFooledByOneWithout) {
  auto listener = Listener::Create();
  ASSERT_THAT(listener, IsOk());
  const ClientOptions keyed = {.authkey = AuthKey::Random(),
                               .handshake_timeout = absl::Milliseconds(20)};
  EXPECT_THAT(Client(listener->address(), keyed),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("has it a key?")));
}

}  // namespace
}  // namespace mp
