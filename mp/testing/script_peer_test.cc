#include "mp/testing/script_peer.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<std::string> Shell(const std::string& script) {
  return {"sh", "-c", script};
}

TEST(ScriptPeerTest, SaysHowLongItTook) {
  LeakCheck leaks;
  ScriptPeer peer(Shell("while read name runs; do echo $name; done"));
  EXPECT_THAT(peer.Does("0.25")(3), IsOkAndHolds(absl::Milliseconds(250)));
  EXPECT_THAT(peer.Does("4")(3), IsOkAndHolds(absl::Seconds(4)));
}

TEST(ScriptPeerTest, IsToldHowOften) {
  LeakCheck leaks;
  ScriptPeer peer(Shell("while read name runs; do echo $runs; done"));
  EXPECT_THAT(peer.Does("fork")(17), IsOkAndHolds(absl::Seconds(17)));
}

TEST(ScriptPeerTest, IsNotStartedForNothing) {
  LeakCheck leaks;
  ScriptPeer peer({"/no/such/program"});
  peer.Does("fork");
}

TEST(ScriptPeerTest, MayBeMissing) {
  LeakCheck leaks;
  ScriptPeer peer({"no-such-program-at-all"});
  EXPECT_THAT(peer.Does("fork")(1),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("no-such-program-at-all")));
}

TEST(ScriptPeerTest, MayEndTooSoon) {
  LeakCheck leaks;
  ScriptPeer peer(Shell("read name runs"));
  EXPECT_THAT(peer.Does("fork")(1),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("sh")));
  EXPECT_THAT(peer.Does("fork")(1),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("sh")));
}

TEST(ScriptPeerTest, MayTalkNonsense) {
  LeakCheck leaks;
  ScriptPeer peer(Shell("while read name runs; do echo quickly; done"));
  EXPECT_THAT(peer.Does("fork")(1),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("fork"), HasSubstr("quickly"))));
}

}  // namespace
}  // namespace mp::testing
