// Objects between Listener and Client and CPython's, with a key: in both roles,
// and to a manager of Python's.

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/address.h"
#include "mp/ipc/client.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/listener.h"
#include "mp/ipc/object.h"
#include "mp/ipc/object_connection.h"
#include "mp/process/auth_key.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;

constexpr absl::Duration kLong = absl::Seconds(60);

constexpr char kKey[] = "secret password";

// The distribution's.
constexpr char kPython[] = "/usr/bin/python3";

// Before each script: where we listen, where it may, and the key.
constexpr char kPrologue[] = R"(
import sys
from multiprocessing.connection import Client, Listener
from multiprocessing.managers import SyncManager
ours, theirs, key = "\0" + sys.argv[1], "\0" + sys.argv[2], sys.argv[3].encode()
)";

class ObjectListenerPythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto probe =
        Subprocess::Run({kPython, "-c", "import multiprocessing.managers"},
                        {.capture_output = true});
    if (absl::IsNotFound(probe.status())) {
      GTEST_SKIP() << "there is no " << kPython;
    }
    ASSERT_THAT(probe, IsOk());
    if (!probe->Check().ok()) {
      GTEST_SKIP() << kPython << " has no multiprocessing: " << probe->err;
    }
    auto listener = Listener::Create({}, {.authkey = key_, .allow_md5 = true});
    ASSERT_THAT(listener, IsOk());
    listener_.emplace(*std::move(listener));
  }

  void Start(const std::string& script) {
    auto started =
        Subprocess::Popen({kPython, "-c", absl::StrCat(kPrologue, script),
                           listener_->address().name(), theirs_.name(), kKey},
                          {.surroundings = {.stdout_to = Stdio::Pipe()},
                           .end_with_parent = true});
    ASSERT_THAT(started, IsOk());
    python_.emplace(*std::move(started));
  }

  // Waits for its end, and returns what it printed.
  std::string Finish() {
    const auto output = python_->Communicate("", kLong);
    EXPECT_THAT(output, IsOk());
    EXPECT_THAT(python_->Wait(kLong), IsOk());
    EXPECT_EQ(python_->returncode(), 0);
    return output.ok() ? output->out : "";
  }

  absl::StatusOr<Connection> Accept() { return listener_->Accept(kLong); }

  absl::StatusOr<Connection> Connect() const {
    return Client(theirs_, {.authkey = key_, .allow_md5 = true}, kLong);
  }

 private:
  const AuthKey key_ = AuthKey::FromBytes(kKey);
  const Address theirs_ = *Address::Abstract(
      absl::StrCat("object_listener_python_test.", getpid()));
  std::optional<Listener> listener_;
  std::optional<Subprocess> python_;
};

TEST_F(ObjectListenerPythonTest, PythonIsOurClient) {
  Start(R"(
with Client(ours, authkey=key) as connection:
    connection.send([42, None, 'hello'])
    print(connection.recv()))");
  auto connection = Accept();
  ASSERT_THAT(connection, IsOk());
  EXPECT_THAT(RecvObject(*connection, kLong),
              IsOkAndHolds(Object::List({42, nullptr, "hello"})));
  ASSERT_THAT(SendObject(*connection, Object::Dict({{"bye", 1.5}})), IsOk());
  EXPECT_EQ(Finish(), "{'bye': 1.5}\n");
}

TEST_F(ObjectListenerPythonTest, PythonIsOurListener) {
  Start(R"(
with Listener(theirs, authkey=key) as listener:
    Client(ours, authkey=key).close()
    with listener.accept() as connection:
        print(connection.recv())
        connection.send({'bye', 1.5}))");
  ASSERT_THAT(Accept(), IsOk());
  auto connection = Connect();
  ASSERT_THAT(connection, IsOk());
  ASSERT_THAT(SendObject(*connection, Object::List({42, nullptr, "hello"})),
              IsOk());
  EXPECT_THAT(RecvObject(*connection, kLong),
              IsOkAndHolds(Object::Set({"bye", 1.5})));
  EXPECT_EQ(Finish(), "[42, None, 'hello']\n");
}

// What the manager answers to a request: a pair of a kind and a value.
absl::StatusOr<Object> Ask(Connection& connection, const Object& id,
                           absl::string_view method, Object::Items args) {
  MP_RETURN_IF_ERROR(SendObject(
      connection, Object::Tuple({id, method, Object::Tuple(std::move(args)),
                                 Object::Dict()})));
  return RecvObject(connection, kLong);
}

Object Returned(Object value) {
  return Object::Tuple({"#RETURN", std::move(value)});
}

TEST_F(ObjectListenerPythonTest, ManagerOfPythonsServesUs) {
  Start(R"(
server = SyncManager(theirs, key).get_server()
Client(ours, authkey=key).close()
server.serve_forever())");
  ASSERT_THAT(Accept(), IsOk());
  // Each call of the server itself has a connection of its own.
  auto creation = Connect();
  ASSERT_THAT(creation, IsOk());
  const auto created =
      Ask(*creation, nullptr, "create", {"list", Object::List({1, 2})});
  ASSERT_THAT(created, IsOk());
  ASSERT_EQ(created->tuple()->at(0), Object("#RETURN")) << *created;
  const Object id = created->tuple()->at(1).tuple()->at(0);

  auto calls = Connect();
  ASSERT_THAT(calls, IsOk());
  EXPECT_THAT(Ask(*calls, nullptr, "accept_connection", {"we"}),
              IsOkAndHolds(Returned(nullptr)));
  EXPECT_THAT(Ask(*calls, id, "append", {"three"}),
              IsOkAndHolds(Returned(nullptr)));
  EXPECT_THAT(Ask(*calls, id, "#GETVALUE", {}),
              IsOkAndHolds(Returned(Object::List({1, 2, "three"}))));
  EXPECT_THAT(Ask(*calls, id, "pop", {9}),
              IsOkAndHolds(Object::Tuple(
                  {"#ERROR", Object::Exception("IndexError",
                                               {"pop index out of range"})})));
  auto end = Connect();
  ASSERT_THAT(end, IsOk());
  EXPECT_THAT(Ask(*end, nullptr, "shutdown", {}),
              IsOkAndHolds(Returned(nullptr)));
  Finish();
}

}  // namespace
}  // namespace mp
