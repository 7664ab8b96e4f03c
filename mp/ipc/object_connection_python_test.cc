// Objects to and from CPython's Connection.send() and recv().

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/socket_pair.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/object.h"
#include "mp/ipc/object_connection.h"
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

// The distribution's.
constexpr char kPython[] = "/usr/bin/python3";

// Before each script: its end of a pair of sockets.
constexpr char kPrologue[] = R"(
import collections, queue, sys
from multiprocessing.connection import Connection
c = Connection(int(sys.argv[1]))
)";

// One of every type, nested.
Object Everything() {
  const Object large = Object::IntFromBytes(std::string(12, '\x11'));
  return Object::List(
      {nullptr, true, 42, large, 1.5, "héllo", Object::Bytes("\xff"),
       Object::ByteArray("ba"), Object::List({1, Object::List({})}),
       Object::Tuple({1, Object::Tuple({})}),
       Object::Dict({{"k", Object::Dict({{2, Object::Set({3})}})}}),
       Object::FrozenSet({"f"}), Object::Exception("ValueError", {"x"})});
}

constexpr char kEverything[] =
    "[None, True, 42, int.from_bytes(b'\\x11' * 12, 'little'), 1.5, "
    "'h\\xe9llo', b'\\xff', bytearray(b'ba'), [1, []], (1, ()), "
    "{'k': {2: {3}}}, frozenset({'f'}), ValueError('x')]";

class ObjectConnectionPythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto probe =
        Subprocess::Run({kPython, "-c", "import multiprocessing.connection"},
                        {.capture_output = true});
    if (absl::IsNotFound(probe.status())) {
      GTEST_SKIP() << "there is no " << kPython;
    }
    ASSERT_THAT(probe, IsOk());
    if (!probe->Check().ok()) {
      GTEST_SKIP() << kPython << " has no multiprocessing: " << probe->err;
    }
  }

  // Starts a script that has the other end of connection_.
  void Start(const std::string& script) {
    absl::StatusOr<SocketPair> pair = CreateSocketPair();
    ASSERT_THAT(pair, IsOk());
    const int theirs = pair->second.get();
    auto started = Subprocess::Popen(
        {kPython, "-c", absl::StrCat(kPrologue, script), absl::StrCat(theirs)},
        {.surroundings = {.stdout_to = Stdio::Pipe()},
         .pass_fds = {theirs},
         .end_with_parent = true});
    ASSERT_THAT(started, IsOk());
    python_.emplace(*std::move(started));
    absl::StatusOr<Connection> ours =
        Connection::FromFd(std::move(pair->first));
    ASSERT_THAT(ours, IsOk());
    connection_ = *std::move(ours);
  }

  // Waits for its end, and returns what it printed.
  std::string Finish() {
    const auto output = python_->Communicate("", kLong);
    EXPECT_THAT(output, IsOk());
    EXPECT_THAT(python_->Wait(kLong), IsOk());
    EXPECT_EQ(python_->returncode(), 0);
    return output.ok() ? output->out : "";
  }

  Connection connection_;

 private:
  std::optional<Subprocess> python_;
};

TEST_F(ObjectConnectionPythonTest, PythonReceivesWhatWeSend) {
  Start(R"(
while True:
    try:
        print(ascii(c.recv()))
    except EOFError:
        break)");
  ASSERT_THAT(SendObject(connection_, Object::List({42, nullptr, "hello"})),
              IsOk());
  ASSERT_THAT(SendObject(connection_, Everything()), IsOk());
  connection_.Close();
  EXPECT_EQ(Finish(),
            "[42, None, 'hello']\n"
            "[None, True, 42, 5281877500950955839569596689, 1.5, 'h\\xe9llo', "
            "b'\\xff', bytearray(b'ba'), [1, []], (1, ()), {'k': {2: {3}}}, "
            "frozenset({'f'}), ValueError('x')]\n");
}

TEST_F(ObjectConnectionPythonTest, WeReceiveWhatPythonSends) {
  Start(absl::StrCat("c.send([42, None, 'hello'])\nc.send(", kEverything,
                     ")\nc.send('x' * 3000000)"));
  EXPECT_THAT(RecvObject(connection_, kLong),
              IsOkAndHolds(Object::List({42, nullptr, "hello"})));
  EXPECT_THAT(RecvObject(connection_, kLong), IsOkAndHolds(Everything()));
  EXPECT_THAT(RecvObject(connection_, kLong),
              IsOkAndHolds(Object(std::string(3'000'000, 'x'))));
  EXPECT_THAT(RecvObject(connection_, kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
  Finish();
}

TEST_F(ObjectConnectionPythonTest, PythonSendsBackTheSame) {
  Start(R"(
while True:
    try:
        c.send(c.recv())
    except EOFError:
        break)");
  for (const Object& object :
       {Everything(), Object(), Object(std::string(100'000, 'x')),
        Object::List(Object::Items(10'000, Everything()))}) {
    ASSERT_THAT(SendObject(connection_, object), IsOk());
    const absl::StatusOr<Object> same = RecvObject(connection_, kLong);
    ASSERT_THAT(same, IsOk());
    EXPECT_TRUE(*same == object);
  }
  connection_.Close();
  Finish();
}

TEST_F(ObjectConnectionPythonTest, WhatWeCannotReadIsNamedAndTheNextComes) {
  Start("c.send(collections.Counter('aab')); c.send(queue.Full('x'))");
  EXPECT_THAT(RecvObject(connection_, kLong),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("collections.Counter is none of")));
  EXPECT_THAT(
      RecvObject(connection_, kLong),
      IsOkAndHolds(Object::FromRecord(
          {.module = "queue", .name = "Full", .args = Object::Tuple({"x"})})));
  Finish();
}

}  // namespace
}  // namespace mp
