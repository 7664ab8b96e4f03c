// What a Process is called, and what it is told to be.

#include <signal.h>
#include <unistd.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/exit.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class ProcessAttributesTest : public internal::StartMethodTest {};

MP_INSTANTIATE_TEST_SUITE(ProcessAttributesTest, AllStartMethods);

std::string HexOf(const AuthKey& key) {
  std::string hex;
  for (const char byte : key.bytes()) {
    absl::StrAppend(&hex, absl::Hex(static_cast<unsigned char>(byte)), ".");
  }
  return hex;
}

void SayWhoIAm(const Report& report) {
  const ProcessInfo me = CurrentProcess();
  Say(report, absl::StrCat(me.name, " ", me.daemon, " ", HexOf(me.authkey)));
}

TEST_P(ProcessAttributesTest, CanBeSetUntilItStarts) {
  Listener listener;
  Process process(options(), SayWhoIAm, listener.report());
  EXPECT_EQ(process.authkey(), CurrentProcess().authkey);
  const AuthKey key = AuthKey::FromBytes("secret");
  process.set_name("renamed");
  EXPECT_THAT(process.set_daemon(true), IsOk());
  EXPECT_THAT(process.set_authkey(key), IsOk());
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(process.set_daemon(false),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has been started")));
  EXPECT_THAT(process.set_authkey(AuthKey()),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  process.set_name("renamed again");
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.name(), "renamed again");
  EXPECT_EQ(listener.Hear(), absl::StrCat("renamed 1 ", HexOf(key)));
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_TRUE(process.daemon());
  EXPECT_EQ(process.authkey(), key);
}

TEST_P(ProcessAttributesTest, ChildMayRenameItselfAndPassesItsKeyOn) {
  Listener listener;
  Process process(
      options(),
      [](const Report& report, StartMethod method) {
        SetCurrentProcessName("second name");
        SetCurrentProcessAuthKey(AuthKey::FromBytes("new"));
        Process grandchild({.context = method, .name = "g"}, SayWhoIAm, report);
        MP_CHECK_OK(grandchild.Start());
        MP_CHECK_OK(grandchild.Join(kLong));
        Say(report, absl::StrCat(" of ", CurrentProcess().name));
      },
      listener.report(), GetParam());
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(listener.Hear(),
            absl::StrCat("g 0 ", HexOf(AuthKey::FromBytes("new")),
                         " of second name"));
}

TEST_P(ProcessAttributesTest, PrintsAsInCPython) {
  Process process({.context = GetParam(), .name = "reader", .daemon = true},
                  [] { Exit(3); });
  const std::string parent = absl::StrCat(" parent=", getpid());
  EXPECT_EQ(process.ToString(),
            absl::StrCat("<Process name='reader'", parent, " initial daemon>"));
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  std::ostringstream text;
  text << process;
  EXPECT_EQ(text.str(), absl::StrCat("<Process name='reader' pid=",
                                     process.pid().value_or(0), parent,
                                     " stopped exitcode=3 daemon>"));
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_EQ(process.ToString(),
            absl::StrCat("<Process name='reader'", parent, " closed daemon>"));
}

// A type of the user's whose reading fails in a way of its own.
struct Explosive {};

}  // namespace

template <>
struct Serializer<Explosive> {
  static void Encode(const Explosive&, Encoder& encoder) { encoder.Write(1); }
  static absl::StatusOr<Explosive> Decode(Decoder&) {
    throw std::runtime_error("no room");
  }
};

namespace {

TEST_P(ProcessAttributesTest, ExceptionWhileArgumentsAreReadIsToldAnd255) {
  Process process(
      options(), [](const Explosive&) {}, Explosive());
  ::testing::internal::CaptureStderr();
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode().value_or(0), 255);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("cannot begin: UNKNOWN: uncaught std::runtime_error: "
                        "no room"));
}

TEST(ProcessToStringTest, NamesTheSignalThatKilled) {
  Process process({.name = "killed"}, [] { pause(); });
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(process.ToString(), HasSubstr(" started>"));
  ASSERT_THAT(process.Kill(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.ToString(), HasSubstr(" stopped exitcode=-SIGKILL>"));
}

TEST(CurrentProcessAuthKeyTest, OfTheFirstProcessIsRandom) {
  EXPECT_EQ(CurrentProcess().authkey.bytes().size(), AuthKey::kRandomBytes);
  EXPECT_EQ(CurrentProcess().authkey, CurrentProcess().authkey);
}

}  // namespace
}  // namespace mp
