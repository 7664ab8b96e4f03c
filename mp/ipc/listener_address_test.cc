// What a Listener does with its address: files, users, machines.

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/client.h"
#include "mp/ipc/listener.h"
#include "mp/process/auth_key.h"
#include "mp/process/exit.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = ::std::filesystem;

constexpr absl::Duration kLong = absl::Seconds(60);

// With a directory of its own.
class ListenerAddressTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;

 protected:
  ListenerAddressTest() {
    std::string name = "/tmp/listener_test.XXXXXX";
    directory_ = mkdtemp(name.data());
    path_ = absl::StrCat(directory_, "/socket");
    address_ = *Address::Unix(path_);
  }
  ~ListenerAddressTest() override { fs::remove_all(directory_); }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  // Listens in a process that is killed then.
  void LeaveBehind() {
    Child child = RunInChild([&]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(Listener listener, Listener::Create(address_));
      raise(SIGKILL);
      return absl::OkStatus();
    });
    ASSERT_THAT(child.Wait(), WasKilledBy(SIGKILL));
    ASSERT_TRUE(fs::is_socket(path_));
  }

  std::string directory_;
  std::string path_;
  Address address_;
};

TEST_F(ListenerAddressTest, FileGoesWithItsListener) {
  {
    auto listener = Listener::Create(address_);
    ASSERT_THAT(listener, IsOk());
    EXPECT_TRUE(fs::is_socket(path_));
    EXPECT_THAT(Client(address_, {}, kLong), IsOk());
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, FileOfAKilledListenerIsReplaced) {
  LeaveBehind();
  EXPECT_THAT(Client(address_), StatusIs(absl::StatusCode::kUnavailable));
  auto listener = Listener::Create(address_);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(Client(address_, {}, kLong), IsOk());
  listener->Close();
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, OnlyOneOfManyReplacesIt) {
  for (int round = 0; round < 5; ++round) {
    LeaveBehind();
    auto created = Marker::Create();
    auto go = Marker::Create();
    ASSERT_THAT(created, IsOk());
    ASSERT_THAT(go, IsOk());
    std::vector<Child> children;
    constexpr int kChildren = 6;
    for (int i = 0; i < kChildren; ++i) {
      children.push_back(RunInChild([&]() -> absl::Status {
        auto listener = Listener::Create(address_);
        MP_RETURN_IF_ERROR(created->Signal());
        MP_RETURN_IF_ERROR(go->Await(kLong));
        if (absl::IsAlreadyExists(listener.status())) Exit(17);
        MP_RETURN_IF_ERROR(listener.status());
        // It is the one that clients find.
        MP_ASSIGN_OR_RETURN(Connection client, Client(address_, {}, kLong));
        return listener->Accept(kLong).status();
      }));
    }
    for (int i = 0; i < kChildren; ++i) {
      ASSERT_THAT(created->Await(kLong), IsOk());
    }
    for (int i = 0; i < kChildren; ++i) ASSERT_THAT(go->Signal(), IsOk());
    int winners = 0;
    for (Child& child : children) {
      const auto status = child.Wait();
      if (status.code == 0) ++winners;
      EXPECT_TRUE(status.code == 0 || status.code == 17) << status;
    }
    EXPECT_EQ(winners, 1);
  }
}

TEST_F(ListenerAddressTest, OtherFilesAreInTheWay) {
  std::ofstream(path_) << "precious";
  EXPECT_THAT(Listener::Create(address_),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr(path_), HasSubstr("no socket"))));
  EXPECT_EQ(fs::file_size(path_), 8);
  fs::remove(path_);
  fs::create_symlink(directory_ + "/nowhere", path_);
  EXPECT_THAT(Listener::Create(address_),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_TRUE(fs::is_symlink(path_));
}

// One that has been bound and does not listen yet is no stale one.
TEST_F(ListenerAddressTest, BoundSocketIsLeftAlone) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    sockaddr_un un = {AF_UNIX, {}};
    path_.copy(un.sun_path, sizeof(un.sun_path));
    const Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&un), sizeof(un)),
              0);
    EXPECT_THAT(Listener::Create(address_),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         HasSubstr("another listener")));
    EXPECT_TRUE(fs::is_socket(path_));
    fs::remove(path_);
  }
}

TEST_F(ListenerAddressTest, FileOfItsSuccessorStays) {
  auto first = Listener::Create(address_);
  ASSERT_THAT(first, IsOk());
  fs::remove(path_);
  auto second = Listener::Create(address_);
  ASSERT_THAT(second, IsOk());
  first->Close();
  EXPECT_TRUE(fs::is_socket(path_));
  EXPECT_THAT(Client(address_, {}, kLong), IsOk());
}

TEST_F(ListenerAddressTest, FileGoesThoughTheDirectoryWasMoved) {
  auto listener = Listener::Create(address_);
  ASSERT_THAT(listener, IsOk());
  const std::string moved = directory_ + ".moved";
  fs::rename(directory_, moved);
  listener->Close();
  fs::rename(moved, directory_);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, RelativePathIsThatOfItsTime) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_);
  auto listener = Listener::Create(*Address::Unix("socket"));
  fs::current_path(before);
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(listener->address().ToString(), "unix:socket");
  EXPECT_TRUE(fs::is_socket(path_));
  listener->Close();
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, ForkedChildLeavesTheFile) {
  auto listener = Listener::Create(address_);
  ASSERT_THAT(listener, IsOk());
  Child child = RunInChild([&] {
    listener->Close();
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_TRUE(fs::is_socket(path_));
  EXPECT_THAT(Client(address_, {}, kLong), IsOk());
  EXPECT_THAT(listener->Accept(kLong), IsOk());
}

// The first process that is started leaves something open, for good.
class WarmUp : public ::testing::Environment {
  void SetUp() override {
    Process process({.context = StartMethod::kSpawn}, [] {});
    ASSERT_THAT(process.Start(), IsOk());
    ASSERT_THAT(process.Join(kLong), IsOk());
  }
};
const auto* const kWarmUp = ::testing::AddGlobalTestEnvironment(new WarmUp);

absl::Status ListenAndExit(Address address) {
  // Exit() unwinds nothing.
  auto& listener = *new absl::StatusOr<Listener>(Listener::Create(address));
  MP_RETURN_IF_ERROR(listener.status());
  Exit(3);
}

TEST_F(ListenerAddressTest, FileGoesAtExit) {
  Process process({.context = StartMethod::kSpawn}, ListenAndExit, address_);
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 3);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, DirectoryMustBeThere) {
  EXPECT_THAT(Listener::Create(*Address::Unix(directory_ + "/none/socket")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  EXPECT_THAT(Client(*Address::Unix(directory_ + "/none/socket")),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ListenerAddressTest, LongestPathWorks) {
  const std::string longest = absl::StrCat(
      directory_, "/",
      std::string(Address::kMaxPathBytes - directory_.size() - 1, 'x'));
  auto listener = Listener::Create(*Address::Unix(longest));
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(Client(*Address::Unix(longest), {}, kLong), IsOk());
  listener->Close();
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ListenerAddressTest, LongestAndOddAbstractNamesWork) {
  std::string odd(Address::kMaxPathBytes, '\0');
  odd.replace(0, 20, absl::StrCat("listener_test.", getpid()));
  const Address address = *Address::Abstract(odd);
  auto listener = Listener::Create(address);
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(listener->address(), address);
  EXPECT_THAT(Client(address, {}, kLong), IsOk());
}

TEST_F(ListenerAddressTest, OtherMachinesNeedAKey) {
  for (const char* host : {"0.0.0.0", "::"}) {
    const Address address = *Address::Tcp(host, 0);
    EXPECT_THAT(Listener::Create(address),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("set .authkey"),
                               HasSubstr(address.ToString()))));
    const auto keyed =
        Listener::Create(address, {.authkey = AuthKey::Random()});
    if (!keyed.ok() && address.name() == "::") {
      std::printf("there is no IPv6 here: nothing is tested over it\n");
      continue;
    }
    EXPECT_THAT(keyed, IsOk());
  }
  for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost"}) {
    EXPECT_THAT(Listener::Create(*Address::Tcp(host, 0)), IsOk()) << host;
  }
}

TEST_F(ListenerAddressTest, HostMustBeOneThatThereIs) {
  // Of the block for documentation, RFC 5737.
  EXPECT_THAT(Listener::Create(*Address::Tcp("192.0.2.1", 0),
                               {.authkey = AuthKey::Random()}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("none of this machine's")));
  // Never a name: RFC 6761.
  const auto client = Client(*Address::Tcp("nobody.invalid", 1));
  EXPECT_THAT(client.status().code(),
              ::testing::AnyOf(absl::StatusCode::kNotFound,
                               absl::StatusCode::kUnavailable))
      << client.status();
}

TEST_F(ListenerAddressTest, PortIsFreeAtOnce) {
  auto listener = Listener::Create(*Address::Tcp("127.0.0.1", 0));
  ASSERT_THAT(listener, IsOk());
  const Address address = listener->address();
  for (int i = 0; i < 3; ++i) {
    auto client = Client(address, {}, kLong);
    ASSERT_THAT(client, IsOk());
    auto connection = listener->Accept(kLong);
    ASSERT_THAT(connection, IsOk());
    connection->Close();  // first, so that this side has the port in TIME_WAIT
    client->Close();
    listener->Close();
    listener = Listener::Create(address);
    ASSERT_THAT(listener, IsOk());
  }
}

constexpr uid_t kNobody = 65534;

// Becomes another user, which a child of the test can if it is root, and not in
// a sandbox.
absl::Status BecomeNobody() {
  if (setresuid(kNobody, kNobody, kNobody) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError("setresuid");
}

bool CanBeTwoUsers() {
  return RunInChild(BecomeNobody).Wait() == testing::ExitStatus{0};
}

TEST_F(ListenerAddressTest, AbstractSocketIsForOurUserOnly) {
  if (!CanBeTwoUsers()) GTEST_SKIP() << "needs root, to be two users";
  auto listener = Listener::Create();
  ASSERT_THAT(listener, IsOk());
  const auto connect = [&] {
    return RunInChild([&]() -> absl::Status {
      MP_RETURN_IF_ERROR(BecomeNobody());
      return Client(listener->address(), {}, kLong).status();
    });
  };
  ASSERT_THAT(connect().Wait(), ExitedWith(0));  // it trusts root
  EXPECT_THAT(listener->Accept(kLong),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("65534"), HasSubstr(".any_user"))));
  listener = Listener::Create({}, {.any_user = true});
  ASSERT_THAT(listener, IsOk());
  ASSERT_THAT(connect().Wait(), ExitedWith(0));
  EXPECT_THAT(listener->Accept(kLong), IsOk());
}

TEST_F(ListenerAddressTest, ClientIsNotFooledByAnotherUsersSocket) {
  if (!CanBeTwoUsers()) GTEST_SKIP() << "needs root, to be two users";
  const Address address =
      *Address::Abstract(absl::StrCat("listener_test.", getpid(), ".nobody"));
  auto listening = Marker::Create();
  auto done = Marker::Create();
  ASSERT_THAT(listening, IsOk());
  ASSERT_THAT(done, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(BecomeNobody());
    MP_ASSIGN_OR_RETURN(Listener listener, Listener::Create(address));
    MP_RETURN_IF_ERROR(listening->Signal());
    return done->Await(kLong);
  });
  ASSERT_THAT(listening->Await(kLong), IsOk());
  EXPECT_THAT(
      Client(address, {}, kLong),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("65534")));
  EXPECT_THAT(Client(address, {.any_user = true}, kLong), IsOk());
  ASSERT_THAT(done->Signal(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// The file's permissions say who may connect.
TEST_F(ListenerAddressTest, FileIsForThoseWhoMayWriteIt) {
  if (!CanBeTwoUsers()) GTEST_SKIP() << "needs root, to be two users";
  chmod(directory_.c_str(), 0755);
  auto listener = Listener::Create(address_);
  ASSERT_THAT(listener, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(BecomeNobody());
    const absl::Status status = Client(address_, {}, kLong).status();
    return absl::IsPermissionDenied(status)
               ? absl::OkStatus()
               : absl::InternalError(status.ToString());
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

}  // namespace
}  // namespace mp
