#include "mp/ipc/object_connection.h"

#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pipe.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

class ObjectConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto ends = Pipe();
    ASSERT_THAT(ends, IsOk());
    std::tie(ours_, theirs_) = *std::move(ends);
  }

  Connection ours_;
  Connection theirs_;
};

TEST_F(ObjectConnectionTest, CarriesObjectsInOrder) {
  const Object list = Object::List({42, nullptr, "hello"});
  ASSERT_THAT(SendObject(ours_, list, kLong), IsOk());
  ASSERT_THAT(SendObject(ours_, nullptr, kLong), IsOk());
  EXPECT_THAT(RecvObject(theirs_, kLong), IsOkAndHolds(list));
  EXPECT_THAT(RecvObject(theirs_, kLong), IsOkAndHolds(Object()));
}

TEST_F(ObjectConnectionTest, MessageIsTheBarePickle) {
  ASSERT_THAT(SendObject(ours_, 0, kLong), IsOk());
  EXPECT_THAT(theirs_.RecvBytes(kLong),
              IsOkAndHolds(std::string("\x80\x04K\0.", 5)));
}

TEST_F(ObjectConnectionTest, BadMessageDoesNotHarmTheNext) {
  ASSERT_THAT(ours_.SendBytes("", kLong), IsOk());
  ASSERT_THAT(ours_.SendBytes("\x80\x04"
                              "cos\nsystem\n.",
                              kLong),
              IsOk());
  ASSERT_THAT(SendObject(ours_, 7, kLong), IsOk());
  EXPECT_THAT(RecvObject(theirs_, kLong),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no bytes")));
  EXPECT_THAT(RecvObject(theirs_, kLong),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("os.system")));
  EXPECT_THAT(RecvObject(theirs_, kLong), IsOkAndHolds(Object(7)));
}

TEST_F(ObjectConnectionTest, WhatCannotBeSentIsNot) {
  EXPECT_THAT(SendObject(ours_, "\xff", kLong),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(RecvObject(theirs_, absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(ObjectConnectionTest, EndIsTheEnd) {
  ours_.Close();
  EXPECT_THAT(RecvObject(theirs_, kLong),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(SendObject(theirs_, 1, kLong),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(SendObject(ours_, 1, kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ObjectConnectionTest, LimitsAreTheReceivers) {
  ASSERT_THAT(SendObject(ours_, Object::List({1, 2}), kLong), IsOk());
  EXPECT_THAT(RecvObject(theirs_, kLong, {.max_objects = 2}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("max_objects is 2")));
  ASSERT_THAT(SendObject(ours_, std::string(100, 'x'), kLong), IsOk());
  EXPECT_THAT(RecvObject(theirs_, kLong, {.max_bytes = 50}),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

// Between this process and one of each start method.
class ObjectProcessTest : public StartMethodTest {
 protected:
  ObjectProcessTest() {
    Run([] {});  // a fork server may start, and stays
    leak_check_.emplace();
  }

 private:
  std::optional<LeakCheck> leak_check_;
};
MP_INSTANTIATE_TEST_SUITE(ObjectProcessTest, AllStartMethods);

// Returns each pair turned round, with the greeting.
absl::Status Turn(const Object& greeting, Connection connection) {
  while (true) {
    const absl::StatusOr<Object> object = RecvObject(connection, kLong);
    if (absl::IsOutOfRange(object.status())) return absl::OkStatus();
    MP_RETURN_IF_ERROR(object.status());
    const Object::Items& pair = *object->tuple();
    MP_RETURN_IF_ERROR(
        SendObject(connection, Object::Tuple({pair[1], pair[0], greeting})));
  }
}

TEST_P(ObjectProcessTest, OtherProcessAnswersAndHasItsArgument) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  const Object greeting = Object::Dict({{"hello", Object::Set({1, 2.5})}});
  Process process(options(), Turn, greeting, std::move(ends->second));
  ASSERT_THAT(process.Start(), IsOk());
  const Object large(std::string(1 << 20, 'x'));
  ASSERT_THAT(SendObject(ends->first, Object::Tuple({1, large}), kLong),
              IsOk());
  EXPECT_THAT(RecvObject(ends->first, kLong),
              IsOkAndHolds(Object::Tuple({large, 1, greeting})));
  ends->first.Close();  // ends the process
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

absl::Status SendBack(Connection connection) {
  MP_ASSIGN_OR_RETURN(const Object object, connection.Recv<Object>(kLong));
  return connection.Send(object);
}

TEST_P(ObjectProcessTest, TravelsInMessagesOfOurOwn) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Process process(options(), SendBack, std::move(ends->second));
  ASSERT_THAT(process.Start(), IsOk());
  const Object object = Object::List({1, "two", Object::Bytes("three")});
  ASSERT_THAT(ends->first.Send(object, kLong), IsOk());
  EXPECT_THAT(ends->first.Recv<Object>(kLong), IsOkAndHolds(object));
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

}  // namespace
}  // namespace mp
