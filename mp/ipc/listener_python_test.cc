// Listener and Client together with CPython's, both ways round.

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/ipc/address.h"
#include "mp/ipc/client.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/listener.h"
#include "mp/process/auth_key.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

constexpr char kKey[] = "secret password";

// The distribution's.
constexpr char kPython[] = "/usr/bin/python3";

// Before each script: where the other is, and the key, if there is one.
constexpr char kPrologue[] = R"(
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener

family, name, port, key, *_ = sys.argv[1:] + [""] * 4
address = {"tcp": (name, int(port or 0)), "unix": name,
           "abstract": "\0" + name}.get(family)
key = key.encode() or None
)";

// How Python is to be called for an address.
std::vector<std::string> Arguments(const std::string& script,
                                   const Address& address,
                                   absl::string_view key) {
  std::string family;
  switch (address.family()) {
    case Address::Family::kUnix:
      family = "unix";
      break;
    case Address::Family::kAbstract:
      family = "abstract";
      break;
    case Address::Family::kTcp:
      family = "tcp";
      break;
  }
  return {kPython,         "-c",           kPrologue + script,
          family,          address.name(), absl::StrCat(address.port()),
          std::string(key)};
}

// A script that runs while we do something else.
class Script {
 public:
  Script(const std::string& script, const Address& address,
         absl::string_view key) {
    auto started =
        Subprocess::Popen(Arguments(script, address, key),
                          {.surroundings = {.stdout_to = Stdio::Pipe()},
                           .end_with_parent = true});
    EXPECT_THAT(started, IsOk());
    process_.emplace(*std::move(started));
  }

  // Waits for its end, and returns what it printed.
  std::string Finish() {
    const auto output = process_->Communicate("", kLong);
    EXPECT_THAT(output, IsOk());
    EXPECT_THAT(process_->Wait(kLong), IsOk());
    EXPECT_EQ(process_->returncode(), 0);
    return output.ok() ? output->out : "";
  }

 private:
  std::optional<Subprocess> process_;
};

struct Case {
  std::string family;
  bool keyed = false;
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return info.param.family + (info.param.keyed ? "Keyed" : "");
}

// Whether this Python's handshake does without MD5.
bool PythonIsModern() {
  static const bool modern =
      Subprocess::CheckCall(
          {kPython, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"})
          .ok();
  return modern;
}

class PythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto probe =
        Subprocess::Run({kPython, "-c", kPrologue}, {.capture_output = true});
    if (absl::IsNotFound(probe.status())) {
      GTEST_SKIP() << "there is no " << kPython;
    }
    ASSERT_THAT(probe, IsOk());
    if (!probe->Check().ok()) {
      GTEST_SKIP() << kPython << " has no multiprocessing: " << probe->err;
    }
  }
};

class ListenerPythonTest : public PythonTest,
                           public ::testing::WithParamInterface<Case> {
 protected:
  Address FreeAddress() const {
    const std::string name = absl::StrCat("listener_python_test.", getpid());
    if (GetParam().family == "Unix") {
      return *Address::Unix(absl::StrCat("/tmp/", name));
    }
    if (GetParam().family == "Abstract") return *Address::Abstract(name);
    return *Address::Tcp("127.0.0.1", 0);
  }

  static std::string key() { return GetParam().keyed ? kKey : ""; }

  static std::optional<AuthKey> authkey() {
    if (!GetParam().keyed) return std::nullopt;
    return AuthKey::FromBytes(kKey);
  }
};

INSTANTIATE_TEST_SUITE_P(Families, ListenerPythonTest,
                         ::testing::Values(Case{"Unix"}, Case{"Unix", true},
                                           Case{"Abstract"},
                                           Case{"Abstract", true}, Case{"Tcp"},
                                           Case{"Tcp", true}),
                         CaseName);

TEST_P(ListenerPythonTest, PythonIsOurClient) {
  auto listener = Listener::Create(FreeAddress(),
                                   {.authkey = authkey(), .allow_md5 = true});
  ASSERT_THAT(listener, IsOk());
  Script python(R"(
with Client(address, authkey=key) as connection:
    print(connection.recv_bytes())
    connection.send_bytes(b"from Python")
    connection.send_bytes(b"")
    connection.send_bytes(bytes(200000))
    print(connection.recv_bytes())
)",
                listener->address(), key());
  auto connection = listener->Accept(kLong);
  ASSERT_THAT(connection, IsOk());
  ASSERT_THAT(connection->SendBytes("from C++"), IsOk());
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("from Python"));
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds(""));
  EXPECT_THAT(connection->RecvBytes(kLong),
              IsOkAndHolds(std::string(200000, '\0')));
  ASSERT_THAT(connection->SendBytes("bye"), IsOk());
  EXPECT_EQ(python.Finish(), "b'from C++'\nb'bye'\n");
  EXPECT_THAT(connection->RecvBytes(kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_P(ListenerPythonTest, PythonIsOurListener) {
  // It tells us when it listens, and where.
  auto ready = Listener::Create();
  ASSERT_THAT(ready, IsOk());
  Script python(absl::StrCat(R"(
with Listener(address, authkey=key) as listener:
    ready = Client("\0)",
                             ready->address().name(), R"(")
    ready.send_bytes(str(listener.address[1]).encode())
    with listener.accept() as connection:
        connection.send_bytes(b"from Python")
        print(connection.recv_bytes())
)"),
                FreeAddress(), key());
  auto listening = ready->Accept(kLong);
  ASSERT_THAT(listening, IsOk());
  const auto port_text = listening->RecvBytes(kLong);
  ASSERT_THAT(port_text, IsOk());
  Address address = FreeAddress();
  int port = 0;
  if (address.family() == Address::Family::kTcp) {
    ASSERT_TRUE(absl::SimpleAtoi(*port_text, &port));
    address = *Address::Tcp(address.name(), port);
  }
  auto connection =
      Client(address, {.authkey = authkey(), .allow_md5 = true}, kLong);
  ASSERT_THAT(connection, IsOk());
  EXPECT_THAT(connection->RecvBytes(kLong), IsOkAndHolds("from Python"));
  ASSERT_THAT(connection->SendBytes("from C++"), IsOk());
  EXPECT_EQ(python.Finish(), "b'from C++'\n");
}

class HandshakePythonTest : public PythonTest {};

// What Python says of a connection that it makes with a key.
constexpr char kTryClient[] = R"(
try:
    Client(address, authkey=key)
    print("welcome")
except (AuthenticationError, EOFError, ConnectionError) as error:
    print(type(error).__name__)
)";

TEST_F(HandshakePythonTest, WrongKeyOfPythonIsRefused) {
  auto listener = Listener::Create(
      {}, {.authkey = AuthKey::FromBytes(kKey), .allow_md5 = true});
  ASSERT_THAT(listener, IsOk());
  Script python(kTryClient, listener->address(), "another");
  EXPECT_THAT(
      listener->Accept(kLong),
      StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("another key")));
  EXPECT_EQ(python.Finish(), "AuthenticationError\n");
}

// Accepts one client of ours, and says what Python makes of it.
constexpr char kTryListener[] = R"(
with Listener(address, authkey=key) as listener:
    Client("\0" + sys.argv[5])
    try:
        listener.accept()
        print("welcome")
    except (AuthenticationError, EOFError, ConnectionError) as error:
        print(type(error).__name__)
)";

// Runs a client of ours against Python's listener. Returns what that says.
std::string TryListener(const std::string& key, const ClientOptions& options,
                        absl::Status* status) {
  const Address address =
      *Address::Abstract(absl::StrCat("handshake_python_test.", getpid()));
  auto ready = Listener::Create();
  EXPECT_THAT(ready, IsOk());
  std::string script = kTryListener;
  script.replace(script.find("sys.argv[5]"), 11,
                 absl::StrCat("\"", ready->address().name(), "\""));
  Script python(script, address, key);
  EXPECT_THAT(ready->Accept(kLong), IsOk());  // it listens
  *status = Client(address, options, kLong).status();
  return python.Finish();
}

TEST_F(HandshakePythonTest, OurWrongKeyIsRefused) {
  absl::Status status;
  EXPECT_EQ(
      TryListener(kKey,
                  {.authkey = AuthKey::FromBytes("another"), .allow_md5 = true},
                  &status),
      "AuthenticationError\n");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnauthenticated,
                               HasSubstr("another key")));
}

TEST_F(HandshakePythonTest, Md5IsRefusedUnlessAllowed) {
  if (PythonIsModern()) GTEST_SKIP() << kPython << " does not need MD5";
  auto listener = Listener::Create({}, {.authkey = AuthKey::FromBytes(kKey)});
  ASSERT_THAT(listener, IsOk());
  Script python(kTryClient, listener->address(), kKey);
  EXPECT_THAT(
      listener->Accept(kLong),
      StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr(".allow_md5")));
  EXPECT_EQ(python.Finish(), "AuthenticationError\n");

  absl::Status status;
  EXPECT_EQ(TryListener(kKey, {.authkey = AuthKey::FromBytes(kKey)}, &status),
            "EOFError\n");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnauthenticated,
                               HasSubstr(".allow_md5")));
}

TEST_F(HandshakePythonTest, ModernPythonNeedsNoMd5) {
  if (!PythonIsModern()) {
    GTEST_SKIP() << kPython << " is older than 3.12, and knows MD5 only: SHA-2 "
                 << "is tested with recorded bytes, by handshake_test";
  }
  auto listener = Listener::Create({}, {.authkey = AuthKey::FromBytes(kKey)});
  ASSERT_THAT(listener, IsOk());
  Script python(kTryClient, listener->address(), kKey);
  EXPECT_THAT(listener->Accept(kLong), IsOk());
  EXPECT_EQ(python.Finish(), "welcome\n");

  absl::Status status;
  EXPECT_EQ(TryListener(kKey, {.authkey = AuthKey::FromBytes(kKey)}, &status),
            "welcome\n");
  EXPECT_THAT(status, IsOk());
}

TEST_F(HandshakePythonTest, PythonWithoutAKeySeesTheChallenge) {
  auto listener = Listener::Create({}, {.authkey = AuthKey::FromBytes(kKey)});
  ASSERT_THAT(listener, IsOk());
  Script python(R"(
with Client(address) as connection:
    print(connection.recv_bytes()[:19])
    connection.send_bytes(b"hello")
    print(connection.recv_bytes())
)",
                listener->address(), "");
  EXPECT_THAT(listener->Accept(kLong),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_EQ(python.Finish(), "b'#CHALLENGE#{sha256}'\nb'#FAILURE#'\n");
}

}  // namespace
}  // namespace mp
