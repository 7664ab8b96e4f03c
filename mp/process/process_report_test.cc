#include "mp/process/process_report.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;
using ::testing::StartsWith;

// A sanitizer has its own handlers for some.
bool IsOurs(int signal) {
  struct sigaction action;
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

// Whether a child of this start method is one of its fork server, as far as the
// kernel is concerned. Nobody can wait for it then.
bool IsServersChild(StartMethod method) {
  return kThreadSanitizer && method == StartMethod::kForkServer;
}

__attribute__((noinline)) void CrashHere(int signal) {
  raise(signal);
  asm volatile("");  // so that this is no tail call
}

__attribute__((noinline)) void CallNothing() {
  void (*volatile nothing)() = nullptr;
  nothing();
  asm volatile("");
}

__attribute__((noinline)) int Overflow(int depth) {
  volatile char frame[4096];
  frame[depth % 4096] = 1;
  return depth == INT32_MAX ? 0 : Overflow(depth + 1) + frame[0];
}

void CrashInThread(int signal) {
  std::thread([signal] {
    pthread_setname_np(pthread_self(), "reader");
    CrashHere(signal);
  }).join();
}

void ThrowInThread() {
  std::thread([] { throw std::out_of_range("row 7"); }).join();
}

class ProcessReportTest : public internal::StartMethodTest {
 protected:
  ProcessReportTest() {
    // A fork server may start, and stays.
    if (GetParam() != StartMethod::kThread) ReportOn([] {});
  }

  template <typename... Args>
  Process Make(Args&&... args) {
    return Process({.context = GetParam()}, std::forward<Args>(args)...);
  }

  // Runs a process to its end.
  template <typename... Args>
  ProcessReport ReportOn(Args&&... args) {
    Process process = Make(std::forward<Args>(args)...);
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join(kLong));
    const absl::StatusOr<ProcessReport> report = process.Report();
    MP_CHECK_OK(report);
    EXPECT_EQ(report->exit_code, process.exitcode());
    return *report;
  }

  // Takes the exit status of a process that has started, as a careless program
  // may do, and returns the report all the same.
  ProcessReport ReportOnStolen(Process& process) {
    waitpid(*process.pid(), nullptr, 0);
    MP_CHECK_OK(process.Join(kLong));
    return *process.Report();
  }
};

MP_INSTANTIATE_TEST_SUITE(ProcessReportTest, RealStartMethods);

TEST_P(ProcessReportTest, TellsTheExitCode) {
  EXPECT_THAT(ReportOn([] {}).exit_code, Optional(0));
  EXPECT_THAT(ReportOn([] { Exit(3); }).exit_code, Optional(3));
  EXPECT_THAT(ReportOn([] { std::exit(4); }).exit_code, Optional(4));
  EXPECT_THAT(ReportOn([] { _exit(5); }).exit_code, Optional(5));
  const ProcessReport failed =
      ReportOn([] { return absl::AbortedError("no more"); });
  EXPECT_THAT(failed.exit_code, Optional(1));
  EXPECT_EQ(failed.signal(), std::nullopt);
  EXPECT_EQ(failed.oom_killed, OomKilled::kNo);
  EXPECT_EQ(failed.stack, "");
}

TEST_P(ProcessReportTest, IdentifiesTheProcess) {
  Process process({.context = GetParam(), .name = "reader"}, [] {});
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  const ProcessReport report = *process.Report();
  EXPECT_EQ(report.name, "reader");
  EXPECT_EQ(report.pid, process.pid());
  EXPECT_EQ(report.start_method, GetParam());
}

TEST_P(ProcessReportTest, NeedsAProcessThatHasEnded) {
  const auto refused = [](const char* why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(why));
  };
  Process process = Make([] { pause(); });
  EXPECT_THAT(process.Report().status(), refused("not started"));
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(process.Report().status(), refused("it still runs"));
  ASSERT_THAT(process.Kill(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.Report(), IsOk());
  EXPECT_THAT(process.Report(), IsOk());
  ASSERT_THAT(process.Close(), IsOk());
  EXPECT_THAT(process.Report().status(), refused("it is closed"));
}

TEST_P(ProcessReportTest, TellsTheStackOfEachCrash) {
  for (const int signal :
       {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP}) {
    SCOPED_TRACE(SignalName(signal));
    const ProcessReport report = ReportOn(CrashHere, signal);
    if (IsOurs(signal)) {
      EXPECT_THAT(report.signal(), Optional(signal));
      EXPECT_THAT(report.stack, HasSubstr("CrashHere() ["));
      EXPECT_THAT(report.stack, HasSubstr("main ["));
      EXPECT_THAT(report.ToString(), HasSubstr(SignalName(signal)));
    } else {
      // That of Address or Thread Sanitizer.
      EXPECT_THAT(report.exit_code, Optional(AnyOf(1, 66)));
      EXPECT_EQ(report.stack, "");
    }
  }
}

TEST_P(ProcessReportTest, OtherSignalsHaveNoStack) {
  const ProcessReport report = ReportOn([] { raise(SIGTERM); });
  EXPECT_THAT(report.signal(), Optional(SIGTERM));
  EXPECT_EQ(report.stack, "");
  EXPECT_EQ(report.oom_killed, OomKilled::kNo);
}

TEST_P(ProcessReportTest, TellsTheStackOfAnotherThread) {
  const ProcessReport report = ReportOn(CrashInThread, SIGABRT);
  EXPECT_THAT(report.signal(), Optional(SIGABRT));
  EXPECT_THAT(report.stack,
              AllOf(HasSubstr(" \"reader\"\n"), HasSubstr("CrashHere() [")));
}

TEST_P(ProcessReportTest, TellsTheExceptionThatEndedIt) {
  const ProcessReport report = ReportOn(ThrowInThread);
  EXPECT_THAT(report.signal(), Optional(SIGABRT));
  EXPECT_EQ(report.message, "uncaught std::out_of_range: row 7");
  EXPECT_THAT(report.ToString(), HasSubstr("std::out_of_range: row 7\n"));
}

TEST_P(ProcessReportTest, TellsACallOfNothing) {
  if (!IsOurs(SIGSEGV)) GTEST_SKIP() << "SIGSEGV is the sanitizer's";
  const ProcessReport report = ReportOn(CallNothing);
  EXPECT_THAT(report.signal(), Optional(SIGSEGV));
  EXPECT_THAT(report.stack, StartsWith("at address 0x0, "));
  EXPECT_THAT(report.stack, HasSubstr("CallNothing() ["));
}

TEST_P(ProcessReportTest, TellsAnOverflowOfTheStack) {
  if (!IsOurs(SIGSEGV)) GTEST_SKIP() << "SIGSEGV is the sanitizer's";
  const ProcessReport report = ReportOn([] { Overflow(0); });
  EXPECT_THAT(report.signal(), Optional(SIGSEGV));
  EXPECT_THAT(report.stack, HasSubstr("Overflow() ["));
}

TEST_P(ProcessReportTest, TellsWhetherACoreWasDumped) {
  const ProcessReport report = ReportOn([] {
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    CrashHere(SIGABRT);
  });
  if (IsServersChild(GetParam())) {
    EXPECT_EQ(report.core_dumped, std::nullopt);
  } else {
    EXPECT_THAT(report.core_dumped, Optional(false));
  }
}

// Works for as long as the clock of the process says, with so much memory.
void Work(absl::Duration time, size_t bytes) {
  const std::unique_ptr<char[]> memory(new char[bytes]);
  for (size_t i = 0; i < bytes; i += 1024) memory[i] = 1;
  const auto used = [] {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return absl::DurationFromTimespec(now);
  };
  while (used() < time) asm volatile("" ::"r"(memory.get()) : "memory");
}

TEST_P(ProcessReportTest, TellsWhatItUsed) {
  constexpr size_t kBytes = 50 << 20;
  const ProcessReport report = ReportOn(Work, absl::Milliseconds(50), kBytes);
  EXPECT_THAT(report.exit_code, Optional(0));
  if (IsServersChild(GetParam())) {
    EXPECT_EQ(report.usage, std::nullopt);
    EXPECT_THAT(report.remark, HasSubstr("fork server"));
    return;
  }
  ASSERT_TRUE(report.usage.has_value());
  // The kernel's two clocks need not agree to the tick.
  EXPECT_GE(report.usage->user_time + report.usage->system_time,
            absl::Milliseconds(40));
  EXPECT_GE(report.usage->max_rss_bytes, int64_t{kBytes});
  EXPECT_GT(report.usage->minor_page_faults, 0);
  EXPECT_EQ(report.remark, "");
}

TEST_P(ProcessReportTest, TimeEndsWithTheProcessAndNotWithJoin) {
  Process process = Make([] { absl::SleepFor(absl::Milliseconds(30)); });
  const Deadline deadline(kLong);
  const absl::Duration before = deadline.Remaining();
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(WaitForFd(*process.sentinel(), POLLIN, deadline),
              IsOkAndHolds(true));
  const absl::Duration seen = before - deadline.Remaining();
  absl::SleepFor(absl::Milliseconds(20));
  const absl::Duration wall_time = process.Report()->wall_time;
  EXPECT_GE(wall_time, absl::Milliseconds(30));
  EXPECT_LE(wall_time, seen);
}

TEST_P(ProcessReportTest, KilledByUsItHadMemoryEnough) {
  Process process = Make([] { pause(); });
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Kill(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  const ProcessReport report = *process.Report();
  EXPECT_THAT(report.signal(), Optional(SIGKILL));
  EXPECT_EQ(report.oom_killed, OomKilled::kNo);
}

TEST_P(ProcessReportTest, KilledByAStrangerIsNotTakenForALackOfMemory) {
  const ProcessReport report = ReportOn([] { raise(SIGKILL); });
  EXPECT_THAT(report.signal(), Optional(SIGKILL));
  // Unknown where the kernel does not say, or another process was meanwhile.
  EXPECT_NE(report.oom_killed, OomKilled::kYes);
}

TEST_P(ProcessReportTest, StolenExitCodeIsTheOneThatTheProcessNoted) {
  void (*const ends[])() = {[] { Exit(5); }, [] { std::exit(5); }};
  for (auto* const end : ends) {
    Process process = Make(end);
    ASSERT_THAT(process.Start(), IsOk());
    const ProcessReport report = ReportOnStolen(process);
    EXPECT_THAT(report.exit_code, Optional(5));
    EXPECT_THAT(process.exitcode(), Optional(5));
    EXPECT_THAT(report.ToString(), HasSubstr("ended with exit code 5"));
    if (IsServersChild(GetParam())) continue;
    EXPECT_EQ(report.usage, std::nullopt);
    EXPECT_THAT(report.remark, HasSubstr("waitpid(-1)"));
  }
}

TEST_P(ProcessReportTest, StolenExitCodeOfAReturnIsKnownToo) {
  Process process = Make([] {});
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(ReportOnStolen(process).exit_code, Optional(0));
}

TEST_P(ProcessReportTest, StolenCrashIsKnownToo) {
  Process process = Make(CrashHere, SIGABRT);
  ASSERT_THAT(process.Start(), IsOk());
  const ProcessReport report = ReportOnStolen(process);
  EXPECT_THAT(report.signal(), Optional(SIGABRT));
  EXPECT_THAT(report.stack, HasSubstr("CrashHere() ["));
}

TEST_P(ProcessReportTest, StolenKillIsUnknownAndSaysSo) {
  if (IsServersChild(GetParam())) {
    GTEST_SKIP() << "nobody here can steal from the fork server";
  }
  Process process = Make([] { raise(SIGKILL); });
  ASSERT_THAT(process.Start(), IsOk());
  const ProcessReport report = ReportOnStolen(process);
  EXPECT_EQ(report.exit_code, std::nullopt);
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_NE(report.oom_killed, OomKilled::kYes);
  EXPECT_THAT(report.ToString(),
              AllOf(HasSubstr("nobody knows how"), HasSubstr("waitpid(-1)")));
}

// Has the kernel reap all children at once, for the scope.
class IgnoredChildren {
 public:
  IgnoredChildren() { before_ = signal(SIGCHLD, SIG_IGN); }
  ~IgnoredChildren() { signal(SIGCHLD, before_); }

 private:
  void (*before_)(int);
};

TEST_P(ProcessReportTest, ProgramThatIgnoresChildrenLearnsTheExitCode) {
  const IgnoredChildren ignored;
  EXPECT_THAT(ReportOn([] { Exit(5); }).exit_code, Optional(5));
  EXPECT_THAT(ReportOn([] {}).exit_code, Optional(0));
  EXPECT_THAT(ReportOn(CrashHere, SIGABRT).signal(), Optional(SIGABRT));
  const ProcessReport killed = ReportOn([] { raise(SIGKILL); });
  if (IsServersChild(GetParam())) return;
  EXPECT_EQ(killed.exit_code, std::nullopt);
  EXPECT_THAT(killed.remark, HasSubstr("SIGCHLD"));
}

// A child of fork waits until its parent knows it by more than a pid.
TEST_P(ProcessReportTest, ProgramThatIgnoresChildrenLosesNoneThatEndsAtOnce) {
  const IgnoredChildren ignored;
  for (int i = 0; i < 200; ++i) {
    ASSERT_THAT(ReportOn([] { Exit(5); }).exit_code, Optional(5));
  }
}

TEST_P(ProcessReportTest, ForkInTheProcessDoesNotSpeakForIt) {
  const ProcessReport report = ReportOn([] {
    const pid_t pid = fork();
    if (pid == 0) CrashHere(SIGABRT);
    waitpid(pid, nullptr, 0);
    _exit(6);
  });
  EXPECT_THAT(report.exit_code, Optional(6));
  EXPECT_EQ(report.stack, "");
}

TEST_P(ProcessReportTest, OneThatExecutesAProgramHasItsExitCode) {
  const ProcessReport report =
      ReportOn([] { execl("/bin/sh", "sh", "-c", "exit 9", nullptr); });
  EXPECT_THAT(report.exit_code, Optional(9));
  EXPECT_EQ(report.stack, "");
}

void ReportOnGrandchild(StartMethod method) {
  Process process({.context = method}, CrashHere, SIGABRT);
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join(kLong));
  const ProcessReport report = *process.Report();
  const bool right = report.signal() == SIGABRT &&
                     report.stack.find("CrashHere() [") != std::string::npos;
  Exit(right ? 23 : 1);
}

TEST_P(ProcessReportTest, EachProcessHearsOfItsOwnChildren) {
  const ProcessReport report = ReportOn(ReportOnGrandchild, GetParam());
  EXPECT_THAT(report.exit_code, Optional(23));
  EXPECT_EQ(report.stack, "");
}

// Fills the process's own crash slot with anything.
void FillSlot(unsigned seed) {
  FILE* const maps = fopen("/proc/self/maps", "re");
  char line[512];
  bool found = false;
  while (fgets(line, sizeof(line), maps) != nullptr) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    if (strstr(line, "mp-crash-slots") == nullptr ||
        sscanf(line, "%lx-%lx", &begin, &end) != 2) {
      continue;
    }
    std::minstd_rand random(seed);
    for (uintptr_t at = begin; at < end; ++at) {
      *reinterpret_cast<volatile unsigned char*>(at) = random() & 0xff;
    }
    found = end - begin == 4096;
  }
  _exit(found ? 12 : 1);
}

TEST_P(ProcessReportTest, GarbageHurtsNobody) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    const ProcessReport report = ReportOn(FillSlot, seed);
    EXPECT_THAT(report.exit_code, Optional(12));
    EXPECT_GE(report.wall_time, absl::ZeroDuration());
    for (const char c : report.ToString()) {
      EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20);
    }
  }
}

TEST_P(ProcessReportTest, ManyReportsLeaveNothingBehind) {
  constexpr bool kSlow = kAddressSanitizer || kThreadSanitizer;
  // A thousand of all start methods; more than there are slots in a memfd.
  const int full = GetParam() == StartMethod::kSpawn ? 100 : 450;
  const int reports = kSlow ? full / 20 : full;
  LeakCheck leak_check;
  for (int i = 0; i < reports; ++i) {
    if (i % 10 == 0) {
      EXPECT_THAT(ReportOn(CrashHere, SIGABRT).stack, Not(IsEmpty()));
    } else {
      EXPECT_THAT(ReportOn([] { Exit(7); }).exit_code, Optional(7));
    }
  }
}

class ThreadReportTest : public ProcessReportTest {};

INSTANTIATE_TEST_SUITE_P(Thread, ThreadReportTest,
                         ::testing::Values(StartMethod::kThread),
                         internal::StartMethodTestName);

TEST_P(ThreadReportTest, TellsWhatCanBeSaidOfAThread) {
  const ProcessReport report = ReportOn([] {
    absl::SleepFor(absl::Milliseconds(5));
    Exit(3);
  });
  EXPECT_THAT(report.exit_code, Optional(3));
  EXPECT_EQ(report.pid, getpid());
  EXPECT_GE(report.wall_time, absl::Milliseconds(5));
  EXPECT_TRUE(report.usage.has_value());
  EXPECT_EQ(report.core_dumped, std::nullopt);
  EXPECT_EQ(report.oom_killed, OomKilled::kNo);
  EXPECT_EQ(report.stack, "");
}

// Of a process that did all that one can.
ProcessReport Everything() {
  ProcessReport report;
  report.name = "reader";
  report.pid = 4711;
  report.start_method = StartMethod::kSpawn;
  report.exit_code = -SIGSEGV;
  report.core_dumped = true;
  report.wall_time = absl::Microseconds(1'234'567);
  report.message = "uncaught int";
  report.stack = "at address 0x8, in the main thread\n#0 F() [f+0x1]";
  report.usage.emplace();
  report.usage->user_time = absl::Microseconds(31'400);
  report.usage->system_time = absl::Microseconds(4'321);
  report.usage->max_rss_bytes = 13 << 20;
  report.usage->minor_page_faults = 1200;
  report.usage->major_page_faults = 4;
  return report;
}

TEST(ProcessReportTextTest, IsNiceToRead) {
  EXPECT_EQ(
      Everything().ToString(),
      "reader (pid 4711, spawn) was killed by SIGSEGV (signal 11) after "
      "1.234s, core dumped\n"
      "  uncaught int\n"
      "  used 31ms as user and 4.321ms as system, 13.0 MiB at most, 1204 page "
      "faults, 4 of them from disk\n"
      "  at address 0x8, in the main thread\n"
      "  #0 F() [f+0x1]\n");
}

TEST(ProcessReportTextTest, IsShortIfThereIsLittleToSay) {
  ProcessReport report;
  report.name = "reader";
  report.pid = 4711;
  report.exit_code = 0;
  report.wall_time = absl::Milliseconds(12'345);
  EXPECT_EQ(report.ToString(),
            "reader (pid 4711, forkserver) ended with exit code 0 after "
            "12.3s\n");
}

TEST(ProcessReportTextTest, TellsALackOfMemory) {
  ProcessReport report = Everything();
  report.oom_killed = OomKilled::kYes;
  EXPECT_THAT(report.ToString(), HasSubstr("  killed by the kernel, because"));
  report.oom_killed = OomKilled::kUnknown;
  EXPECT_THAT(report.ToString(), HasSubstr("  maybe killed by the kernel"));
}

TEST(ProcessReportTextTest, SignalsWithoutANameHaveANumber) {
  EXPECT_EQ(SignalName(SIGKILL), "SIGKILL");
  EXPECT_EQ(SignalName(SIGRTMAX), "signal 64");
  EXPECT_EQ(SignalName(-1), "signal -1");
}

}  // namespace
}  // namespace mp
