// How a foreground job ends by Ctrl-C, a hang-up or a signal of somebody's,
// seen from the terminal. What the processes of the job say comes on one pipe,
// and the shell's "prompt" too; its end says that none of them is left.

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>
#include <termios.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/terminal_job.h"

namespace mp {
namespace {

using ::mp::testing::ExitedWith;
using ::mp::testing::TerminalJob;
using ::mp::testing::TerminalJobOptions;
using ::mp::testing::WasKilledBy;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kProgram[] = "mp/process/testdata/foreground_job";
constexpr char kCtrlC[] = "\x03";

class SignalTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const absl::Status possible = TerminalJob::Start({"/bin/true"}).status();
    if (absl::IsUnavailable(possible)) GTEST_SKIP() << possible;
  }

  // Starts one of the jobs of testdata/foreground_job.cc, and waits until
  // `count` processes of it are ready.
  void Run(std::string what, int count, TerminalJobOptions options = {}) {
    job_.reset();
    job_ = std::make_unique<TerminalJob>(
        *TerminalJob::Start({kProgram, GetParam(), std::move(what)}, options));
    for (int i = 0; i < count; ++i) EXPECT_EQ(job_->ReadLine(), "ready");
  }

  TerminalJob& job() { return *job_; }

  void Type(const char* keys) { MP_CHECK_OK(job().Type(keys)); }

  // Sends a signal to the whole job.
  void SignalJob(int signal) { ASSERT_EQ(kill(-job().pid(), signal), 0); }

  // Returns what is said until none is left.
  std::vector<std::string> LastLines() {
    return absl::StrSplit(job().ReadRest(), '\n', absl::SkipEmpty());
  }

 private:
  std::unique_ptr<TerminalJob> job_;
};

// Those whose processes are processes.
class ProcessSignalTest : public SignalTest {};

INSTANTIATE_TEST_SUITE_P(StartMethods, SignalTest,
                         ::testing::Values("forkserver", "fork", "spawn",
                                           "thread"),
                         [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(StartMethods, ProcessSignalTest,
                         ::testing::Values("forkserver", "fork", "spawn"),
                         [](const auto& info) { return info.param; });

TEST_P(SignalTest, CtrlCEndsAllInSilence) {
  Run("idle", 3);
  const termios before = job().Modes();
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ElementsAre("prompt"));
  EXPECT_EQ(job().ReadTerminal(), "^C");
  const termios after = job().Modes();
  EXPECT_EQ(memcmp(&before, &after, sizeof(before)), 0);
}

TEST_P(SignalTest, HangUpEndsAllInSilence) {
  Run("idle", 3);
  job().HangUp();
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGHUP));
  EXPECT_THAT(LastLines(), IsEmpty());
}

TEST_P(SignalTest, SignalToTheJobEndsAllInSilence) {
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
    Run("idle", 3);
    SignalJob(signal);
    EXPECT_THAT(job().Wait(), WasKilledBy(signal));
    EXPECT_THAT(LastLines(), ElementsAre("prompt"));
  }
}

TEST_P(ProcessSignalTest, ChildrenHaveTheirLastWordBeforeThePrompt) {
  Run("children", 4);
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ElementsAre("child: SIGINT*1", "child: SIGINT*1",
                                       "child: SIGINT*1", "prompt"));
}

TEST_P(ProcessSignalTest, ProgramThatWaitsAtExitEndsInTheSameOrder) {
  Run("forgotten", 2);
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ElementsAre("child: SIGINT*1", "prompt"));
}

TEST_P(ProcessSignalTest, EachChildGetsASignalToTheJobOnce) {
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
    const std::string said = absl::StrCat("child: SIG", sigabbrev_np(signal));
    Run("children", 4);
    SignalJob(signal);
    EXPECT_THAT(job().Wait(), WasKilledBy(signal));
    EXPECT_THAT(LastLines(),
                ElementsAre(said + "*1", said + "*1", said + "*1", "prompt"));
  }
}

TEST_P(ProcessSignalTest, EachChildHearsOfAHangUpOnce) {
  for (const bool leads_session : {false, true}) {
    Run("children", 4, {.leads_session = leads_session});
    job().HangUp();
    EXPECT_THAT(job().Wait(), WasKilledBy(SIGHUP));
    EXPECT_THAT(LastLines(), ElementsAre("child: SIGHUP*1", "child: SIGHUP*1",
                                         "child: SIGHUP*1"));
  }
}

TEST_P(ProcessSignalTest, DaemonThatEndsByTheSignalGetsNoOther) {
  Run("daemon", 2);
  SignalJob(SIGTERM);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGTERM));
  EXPECT_THAT(LastLines(), ElementsAre("daemon: SIGTERM*1", "prompt"));
}

TEST_P(ProcessSignalTest, DaemonThatIgnoresCtrlCIsTerminated) {
  Run("deaf_daemon", 2);
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ElementsAre("daemon: SIGTERM*1", "prompt"));
}

TEST_P(ProcessSignalTest, DaemonThatWillNotEndIsKilled) {
  Run("killed", 2);
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines().back(), "prompt");
}

TEST_P(ProcessSignalTest, SecondCtrlCEndsTheParentAtOnce) {
  Run("stubborn", 2);
  Type(kCtrlC);
  std::string line = job().ReadLine();
  if (line == "stubborn: SIGINT*1") line = job().ReadLine();
  ASSERT_EQ(line, "stubborn: SIGINT*1 SIGTERM*1");
  // Now the parent waits, and would for an hour.
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ::testing::Contains("prompt"));
}

// As of timeout(1), and of a shell that is hung up.
TEST_P(ProcessSignalTest, SecondSigtermOrSighupChangesNothing) {
  Run("stubborn", 2);
  ASSERT_EQ(kill(job().pid(), SIGTERM), 0);
  ASSERT_EQ(job().ReadLine(), "stubborn: SIGTERM*1");
  ASSERT_EQ(kill(job().pid(), SIGTERM), 0);
  ASSERT_EQ(kill(job().pid(), SIGHUP), 0);
  ASSERT_EQ(kill(job().pid(), SIGINT), 0);  // which does end it
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(), ElementsAre("prompt"));
}

TEST_P(ProcessSignalTest, TreeEndsFromItsLeaves) {
  Run("nested", 4);
  Type(kCtrlC);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(LastLines(),
              ElementsAre("child: SIGINT*1", "child: SIGINT*1", "prompt"));
}

TEST_P(ProcessSignalTest, TerminatedChildEndsItsDaemonsFirst) {
  Run("terminate", 2);
  Type("\n");
  EXPECT_THAT(job().Wait(), ExitedWith(0));
  EXPECT_THAT(LastLines(),
              ElementsAre("daemon: SIGTERM*1",
                          absl::StrCat("exit code ", -SIGTERM), "prompt"));
}

TEST_P(ProcessSignalTest, SigtermToTheParentLeavesChildrenThatAreNoDaemons) {
  Run("survivor", 3);
  ASSERT_EQ(kill(job().pid(), SIGTERM), 0);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGTERM));
  EXPECT_EQ(job().ReadLine(), "daemon: SIGTERM*1");
  EXPECT_THAT(LastLines(),
              UnorderedElementsAre("prompt", "the parent is gone"));
}

TEST_P(ProcessSignalTest, ProgramsOwnHandlerStaysInCharge) {
  for (const char* order : {"own_before", "own_after"}) {
    Run(order, 0);
    EXPECT_THAT((std::vector{job().ReadLine(), job().ReadLine()}),
                UnorderedElementsAre("ready", "parent"));
    Type(kCtrlC);
    EXPECT_THAT(job().Wait(), ExitedWith(7));
    EXPECT_THAT(LastLines(),
                ElementsAre(absl::StrCat("goes on after ", -SIGINT), "prompt"));
  }
}

TEST_P(ProcessSignalTest, OptionKeepsHandsOffSignals) {
  Run("handled", 0);
  EXPECT_THAT(LastLines(), ElementsAre("USR1", "prompt"));
  Run("left_alone", 0);
  EXPECT_THAT(LastLines(), ElementsAre("HUP", "INT", "TERM", "USR1", "prompt"));
}

TEST_P(ProcessSignalTest, NohupIsForParentAndChildren) {
  Run("children", 4, {.ignores_hangup = true});
  job().HangUp();  // has reached all when this returns
  SignalJob(SIGTERM);
  EXPECT_THAT(job().Wait(), WasKilledBy(SIGTERM));
  EXPECT_THAT(LastLines(), ElementsAre("child: SIGTERM*1", "child: SIGTERM*1",
                                       "child: SIGTERM*1"));
}

// One that is being started is no exception.
TEST_P(ProcessSignalTest, CtrlCEndsAllAtAnyMoment) {
  for (int i = 0; i < 20; ++i) {
    Run("start_for_ever", 0);
    usleep(2'000 * i);
    Type(kCtrlC);
    EXPECT_THAT(job().Wait(), WasKilledBy(SIGINT));
    EXPECT_THAT(LastLines(), UnorderedElementsAre("prompt"));
  }
}

TEST_P(ProcessSignalTest, NoStartFailsForASignalThatTheParentHandles) {
  Run("starts", 0);
  EXPECT_THAT(job().Wait(), ExitedWith(0));
  EXPECT_THAT(LastLines(), ElementsAre("started all", "prompt"));
}

}  // namespace
}  // namespace mp
