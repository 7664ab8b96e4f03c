#include "mp/testing/terminal_job.h"

#include <signal.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"

namespace mp::testing {
namespace {

// Says "ready", and goes on until it is told to stop.
constexpr char kScript[] = "echo ready >&2; while :; do read x; done";

class TerminalJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (absl::IsUnavailable(TerminalJob::Start({"/bin/true"}).status())) {
      GTEST_SKIP() << "there are no pseudo-terminals here";
    }
  }

  static TerminalJob Run(std::string script, TerminalJobOptions options = {}) {
    return *TerminalJob::Start({"/bin/sh", "-c", std::move(script)}, options);
  }

  LeakCheck leak_check_;
};

TEST_F(TerminalJobTest, PromptComesAfterTheJobsEnd) {
  TerminalJob job = Run("echo said >&2; exit 3");
  EXPECT_THAT(job.Wait(), ExitedWith(3));
  EXPECT_EQ(job.ReadLine(), "said");
  EXPECT_EQ(job.ReadRest(), "prompt\n");
}

TEST_F(TerminalJobTest, CtrlCInterruptsTheWholeJob) {
  TerminalJob job = Run(kScript);
  EXPECT_EQ(job.ReadLine(), "ready");
  EXPECT_TRUE(job.Type("\x03").ok());
  EXPECT_THAT(job.Wait(), WasKilledBy(SIGINT));
  EXPECT_EQ(job.ReadRest(), "prompt\n");
  EXPECT_EQ(job.ReadTerminal(), "^C");
}

TEST_F(TerminalJobTest, HangUpEndsShellAndJob) {
  TerminalJob job = Run(kScript);
  EXPECT_EQ(job.ReadLine(), "ready");
  job.HangUp();
  EXPECT_THAT(job.Wait(), WasKilledBy(SIGHUP));
  EXPECT_EQ(job.ReadRest(), "");
}

TEST_F(TerminalJobTest, HangUpReachesTheSessionsLeader) {
  TerminalJob job = Run(kScript, {.leads_session = true});
  EXPECT_EQ(job.ReadLine(), "ready");
  job.HangUp();
  EXPECT_THAT(job.Wait(), WasKilledBy(SIGHUP));
}

TEST_F(TerminalJobTest, HangUpCanBeIgnored) {
  TerminalJob job = Run("echo ready >&2; read x; echo on >&2; exit 4",
                        {.ignores_hangup = true});
  EXPECT_EQ(job.ReadLine(), "ready");
  job.HangUp();
  EXPECT_THAT(job.Wait(), ExitedWith(4));
  EXPECT_EQ(job.ReadRest(), "on\n");
}

TEST_F(TerminalJobTest, DestructorEndsTheJob) {
  TerminalJob job = Run(kScript);
  EXPECT_EQ(job.ReadLine(), "ready");
}

}  // namespace
}  // namespace mp::testing
