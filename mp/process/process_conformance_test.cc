// What CPython's test suite asks of a Process and no other test here does; see
// docs/conformance.md.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ExitCodeOf;
using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Optional;

class ProcessConformanceTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ProcessConformanceTest, AllStartMethods);

class RealProcessConformanceTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(RealProcessConformanceTest, RealStartMethods);

// _TestProcess.test_daemon_argument
TEST_P(ProcessConformanceTest, DaemonFlagIsInheritedUnlessGiven) {
  Listener listener;
  const auto say = [](const Report& report) {
    const Process inheriting([] {});
    const Process no_daemon({.daemon = false}, [] {});
    const Process daemon({.daemon = true}, [] {});
    Say(report, absl::StrCat(inheriting.daemon(), no_daemon.daemon(),
                             daemon.daemon(), " "));
  };
  for (const std::optional<bool> daemon :
       {std::optional<bool>(), {false}, {true}}) {
    ProcessOptions given = options();
    given.daemon = daemon;
    Process process(given, say, listener.report());
    EXPECT_EQ(ExitCodeOf(process), 0);
  }
  EXPECT_EQ(listener.Hear(), "001 001 101 ");
}

// _TestProcess.test_process
TEST_P(ProcessConformanceTest, ChildSeesItsArgumentsNameKeyAndPid) {
  Listener listener;
  ProcessOptions named = options();
  named.name = "given";
  Process process(
      std::move(named),
      [](const Report& report, int number,
         const std::vector<std::string>& list) {
        const ProcessInfo me = CurrentProcess();
        Say(report, absl::StrCat(number, absl::StrJoin(list, ","), " ", me.name,
                                 " ", me.authkey.bytes(), " ", me.pid));
      },
      listener.report(), 7, std::vector<std::string>{"a", "b"});
  ASSERT_THAT(process.set_authkey(AuthKey::FromBytes("secret")), IsOk());
  ASSERT_THAT(process.Start(), IsOk());
  const auto pid = process.pid();
  ASSERT_TRUE(pid.has_value());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(listener.Hear(), absl::StrCat("7a,b given secret ", *pid));
  EXPECT_THAT(process.exitcode(), Optional(0));
}

TEST_P(ProcessConformanceTest, ChildHasTheKeyOfItsParentUnlessGivenOne) {
  Listener listener;
  EXPECT_EQ(Run(
                [](const Report& report) {
                  Say(report, CurrentProcess().authkey.bytes());
                },
                listener.report()),
            0);
  EXPECT_TRUE(AuthKey::FromBytes(listener.Hear()) == CurrentProcess().authkey);
}

void Recurse(StartMethod method, const std::vector<int>& path,
             const Report& report) {
  Say(report, absl::StrCat("[", absl::StrJoin(path, ","), "]"));
  if (path.size() == 2) return;
  for (const int i : {0, 1}) {
    std::vector<int> longer = path;
    longer.push_back(i);
    Process child({.context = method}, Recurse, method, longer, report);
    if (ExitCodeOf(child) != 0) Exit(1);
  }
}

// _TestProcess.test_recursion
TEST_P(ProcessConformanceTest, ProcessesRecurseInOrder) {
  Listener listener;
  EXPECT_EQ(Run(Recurse, GetParam(), std::vector<int>(), listener.report()), 0);
  EXPECT_EQ(listener.Hear(), "[][0][0,0][0,1][1][1,0][1,1]");
}

// _TestProcess.test_close
TEST_P(ProcessConformanceTest, CloseLetsGoOfAllButItsName) {
  Process process(options(), [] {});
  ASSERT_EQ(ExitCodeOf(process), 0);
  ASSERT_THAT(process.sentinel(), IsOk());
  const int sentinel = *process.sentinel();
  ASSERT_THAT(process.Close(), IsOk());
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_EQ(fcntl(sentinel, F_GETFD), -1) << "it is open";
  const auto closed =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed"));
  EXPECT_THAT(process.Start(), closed);
  EXPECT_THAT(process.Join(), closed);
  EXPECT_THAT(process.Terminate(), closed);
  EXPECT_THAT(process.sentinel(), closed);
  EXPECT_FALSE(process.IsAlive());
  EXPECT_EQ(process.pid(), std::nullopt);
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_THAT(process.name(), HasSubstr("Process-"));
  EXPECT_EQ(process.authkey(), CurrentProcess().authkey);
}

TEST_P(ProcessConformanceTest, OneThatWasNotStartedCanBeClosed) {
  Process process(options(), [] {});
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_THAT(process.Start(),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

// _TestProcess.test_many_processes, its second half
TEST_P(RealProcessConformanceTest, ManyTerminatedRightAfterTheirStart) {
  std::vector<Process> processes;
  for (int i = 0; i < 50; ++i) {
    processes.emplace_back(options(), [] {
      while (true) pause();
    });
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  for (Process& process : processes) EXPECT_THAT(process.Terminate(), IsOk());
  for (Process& process : processes) {
    EXPECT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(-SIGTERM));
  }
}

void PauseForEver() {
  while (true) pause();
}

// Ends with three threads: one that counts, a daemon and one of nobody's.
void LeaveThreadsBehind(const Report& report) {
  Process counting(
      {.context = StartMethod::kThread},
      [](const Report& report) {
        usleep(200'000);  // outlives the function, as a rule
        Say(report, "thread");
      },
      report);
  MP_CHECK_OK(counting.Start());
  Process daemon({.context = StartMethod::kThread, .daemon = true},
                 PauseForEver);
  MP_CHECK_OK(daemon.Start());
  std::thread(PauseForEver).detach();
  Say(report, "function ");
}

// _TestProcess.test_wait_for_threads. A std::thread is what Python calls a
// daemon thread, for who wants it to be waited for has to join it.
TEST_P(RealProcessConformanceTest, WaitsForItsThreadsUnlessTheyAreDaemons) {
  Listener listener;
  EXPECT_EQ(Run(LeaveThreadsBehind, listener.report()), 0);
  EXPECT_EQ(listener.Hear(), "function thread");
}

// _TestProcess.test_interrupt. CPython has a handler, which gives 1.
TEST_P(RealProcessConformanceTest, InterruptIsSigint) {
  const auto wait = [](const Report& report, bool handle) {
    signal(SIGINT, handle ? [](int) { _exit(1); } : SIG_DFL);
    Say(report, "ready");
    PauseForEver();
  };
  for (const bool handle : {false, true}) {
    Listener listener;
    Process process(options(), wait, listener.report(), handle);
    ASSERT_THAT(process.Start(), IsOk());
    ASSERT_EQ(listener.Hear(5), "ready");
    EXPECT_THAT(process.Interrupt(), IsOk());
    EXPECT_THAT(process.Join(kLong), IsOk());
    EXPECT_THAT(process.exitcode(), Optional(handle ? 1 : -SIGINT));
    EXPECT_THAT(process.Interrupt(), IsOk());
  }
}

}  // namespace
}  // namespace mp
