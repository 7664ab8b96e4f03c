#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/shared_memory.h"
#include "mp/sharedmem/value.h"
#include "mp/sync/lock.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

// What travels through a connection besides bytes, and connections themselves.
namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Optional;

class ConnectionTravelTest : public StartMethodTest {
 protected:
  ConnectionTravelTest() {
    auto ends = Pipe();
    MP_CHECK_OK(ends);
    here_ = std::move(ends->first);
    there_ = std::move(ends->second);
  }

  // Starts a process that has the other end.
  template <typename Function>
  void Start(Function function) {
    process_.emplace(options(), function, std::move(there_));
    ASSERT_THAT(process_->Start(), IsOk());
  }
  void ExpectSuccess() {
    ASSERT_THAT(process_->Join(kLong), IsOk());
    EXPECT_THAT(process_->exitcode(), Optional(0));
  }

  Connection here_;

 private:
  Connection there_;
  std::optional<Process> process_;
};
MP_INSTANTIATE_TEST_SUITE(ConnectionTravelTest, AllStartMethods);

absl::Status UseSharedThings(Connection connection) {
  MP_ASSIGN_OR_RETURN(Lock lock, connection.Recv<Lock>(kLong));
  MP_ASSIGN_OR_RETURN(Value<int> value, connection.Recv<Value<int>>(kLong));
  MP_ASSIGN_OR_RETURN(SharedMemory block, connection.Recv<SharedMemory>(kLong));
  MP_RETURN_IF_ERROR(connection.Send(lock.Locked()));
  MP_RETURN_IF_ERROR(lock.Acquire(kLong));
  MP_RETURN_IF_ERROR(value.With([](int& n) { n += 2; }));
  block.data()[0] = 'x';
  return lock.Release();
}

TEST_P(ConnectionTravelTest, SharedThingsReachARunningProcess) {
  Start(UseSharedThings);
  Lock lock = *Lock::Create();
  Value<int> value = *Value<int>::Create(40);
  SharedMemory block = *SharedMemory::Create(1 << 16);
  ASSERT_THAT(lock.Acquire(), IsOk());
  ASSERT_THAT(here_.Send(lock), IsOk());
  ASSERT_THAT(here_.Send(value), IsOk());
  ASSERT_THAT(here_.Send(block), IsOk());
  EXPECT_THAT(here_.Recv<bool>(kLong), IsOkAndHolds(true));
  ASSERT_THAT(lock.Release(), IsOk());
  ExpectSuccess();
  EXPECT_THAT(value.Get(), IsOkAndHolds(42));
  EXPECT_EQ(block.view()[0], 'x');
}

absl::Status UseConnections(Connection outer) {
  MP_ASSIGN_OR_RETURN(auto ends, outer.Recv<std::vector<Connection>>(kLong));
  // CPython: test_access
  if (ends[0].writable() || ends[1].readable()) {
    return absl::InternalError("the directions are lost");
  }
  MP_ASSIGN_OR_RETURN(const std::string text, ends[0].Recv<std::string>(kLong));
  return ends[1].Send(text + " and back");
}

// CPython: test_pickling, test_access
TEST_P(ConnectionTravelTest, ConnectionsKeepTheirDirections) {
  auto to = Pipe(/*duplex=*/false);
  auto from = Pipe(/*duplex=*/false);
  ASSERT_THAT(to, IsOk());
  ASSERT_THAT(from, IsOk());
  Start(UseConnections);
  std::vector<Connection> ends;
  ends.push_back(std::move(to->first));
  ends.push_back(std::move(from->second));
  ASSERT_THAT(here_.Send(ends), IsOk());
  ends.clear();
  ASSERT_THAT(to->second.Send("there"), IsOk());
  EXPECT_THAT(from->first.Recv<std::string>(kLong),
              IsOkAndHolds("there and back"));
  ExpectSuccess();
}

absl::Status WriteToDescriptor(Connection connection) {
  MP_ASSIGN_OR_RETURN(Fd fd, connection.Recv<Fd>(kLong));
  return WriteAll(fd.get(), "foo");
}

// CPython: test_fd_transfer, test_large_fd_transfer
TEST_P(ConnectionTravelTest, DescriptorsWithLargeNumbersAreOfUseThere) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  const Fd writer(ends[1]);
  const Fd large(fcntl(writer.get(), F_DUPFD_CLOEXEC, 300));
  ASSERT_GE(large.get(), 300);
  Start(WriteToDescriptor);
  ASSERT_THAT(here_.Send(large), IsOk());
  ExpectSuccess();
  char text[3];
  EXPECT_THAT(ReadUpTo(reader.get(), text, sizeof(text)), IsOkAndHolds(3));
  EXPECT_EQ(std::string(text, 3), "foo");
}

TEST(ConnectionFdsTest, AThousandConnectionsAreOneMessage) {
  constexpr int kCount = 1000;
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 4 * kCount) GTEST_SKIP() << "ulimit -Hn is too low";
  const rlimit raised = {limit.rlim_max, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &raised), 0);
  auto outer = Pipe();
  ASSERT_THAT(outer, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    outer->first.Close();
    MP_ASSIGN_OR_RETURN(auto ends,
                        outer->second.Recv<std::vector<Connection>>(kLong));
    for (size_t i = 0; i < ends.size(); ++i) {
      MP_RETURN_IF_ERROR(ends[i].Send(i));
    }
    return absl::OkStatus();
  });
  std::vector<Connection> here;
  std::vector<Connection> there;
  for (int i = 0; i < kCount; ++i) {
    auto ends = Pipe();
    ASSERT_THAT(ends, IsOk());
    here.push_back(std::move(ends->first));
    there.push_back(std::move(ends->second));
  }
  ASSERT_THAT(outer->first.Send(there, kLong), IsOk());
  there.clear();
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_THAT(here[i].Recv<size_t>(kLong), IsOkAndHolds(i));
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

// Two ends of a connection over TCP.
std::pair<Connection, Connection> TcpPair() {
  const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(listener.get(), any, size), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), any, &size), 0);
  EXPECT_EQ(connect(client.get(), any, size), 0);
  Fd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return {*Connection::FromFd(std::move(client)),
          *Connection::FromFd(std::move(server))};
}

TEST(ConnectionFdsTest, DescriptorsOverTcpAreRefusedAndNothingIsSent) {
  auto [client, server] = TcpPair();
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  EXPECT_THAT(
      client.Send(ends->first),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Unix sockets")));
  ASSERT_THAT(client.Send(std::string(100'000, 'x')), IsOk());
  EXPECT_THAT(server.Recv<std::string>(kLong), IsOk());
}

// A TCP connection itself may travel, over a Unix one.
TEST(ConnectionFdsTest, TcpConnectionIsSharedWithAnotherProcess) {
  auto tcp = TcpPair();
  Connection& client = tcp.first;
  Connection& server = tcp.second;
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  ASSERT_THAT(ends->first.Send(client), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(Connection mine, ends->second.Recv<Connection>(kLong));
    for (int i = 0; i < 20; ++i) {
      MP_RETURN_IF_ERROR(mine.SendBytes(std::string(50'000, 'c')));
    }
    return absl::OkStatus();
  });
  Child other = RunInChild([&]() -> absl::Status {
    for (int i = 0; i < 20; ++i) {
      MP_RETURN_IF_ERROR(client.SendBytes(std::string(50'000, 'p')));
    }
    return absl::OkStatus();
  });
  for (int i = 0; i < 40; ++i) {
    const absl::StatusOr<std::string> text = server.RecvBytes(kLong);
    ASSERT_THAT(text, IsOk());
    ASSERT_EQ(text->size(), 50'000);
    ASSERT_EQ(text->find_first_not_of(text->front()), std::string::npos);
  }
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(other.Wait(), ExitedWith(0));
}

TEST(ConnectionForgeryTest, ForgedConnectionsAreRefusedOrWork) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  const auto encoded = [&] {
    Encoder encoder;
    encoder.Write(ends->first);
    return std::move(encoder).Finish().value();
  };
  const std::string good = encoded().bytes;
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Parcel parcel = encoded();
      parcel.bytes[i] = static_cast<char>(parcel.bytes[i] ^ (1 << bit));
      Decoder decoder(std::move(parcel));
      absl::StatusOr<Connection> connection = decoder.Read<Connection>();
      if (connection.ok()) connection->Poll().status().IgnoreError();
    }
    Parcel parcel = encoded();
    parcel.bytes.resize(i);
    Decoder decoder(std::move(parcel));
    EXPECT_THAT(decoder.Read<Connection>(),
                StatusIs(absl::StatusCode::kDataLoss, _));
  }
}

}  // namespace
}  // namespace mp
