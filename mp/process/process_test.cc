#include "mp/process/process.h"

#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/bind.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/fields.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/serializer.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::ExitCodeOf;
using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;

class ProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ProcessTest, AllStartMethods);

class RealProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(RealProcessTest, RealStartMethods);

class SentProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(SentProcessTest, SendingStartMethods);

class CleanProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(CleanProcessTest, CleanStartMethods);

TEST_P(ProcessTest, RunsAFunctionWithConvertedArguments) {
  Listener listener;
  void (*const greet)(const Report&, const std::string&, double) =
      [](const Report& report, const std::string& name, double x) {
        Say(report, absl::StrCat("hello ", name, " ", x));
      };
  EXPECT_EQ(Run(greet, listener.report(), "bob", 2), 0);
  EXPECT_EQ(listener.Hear(), "hello bob 2");
}

struct Scale {
  int factor = 1;
  void operator()(const Report& report, int x) const {
    Say(report, absl::StrCat(factor * x));
  }
  void Twice(const Report& report) const {
    Say(report, absl::StrCat(2 * factor));
  }
  MP_FIELDS(factor)
};

TEST_P(ProcessTest, RunsEveryKindOfCallable) {
  Listener listener;
  const Report& report = listener.report();
  EXPECT_EQ(Run([](const Report& report) { Say(report, "lambda "); }, report),
            0);
  EXPECT_EQ(Run([](const auto& report) { Say(report, "generic "); }, report),
            0);
  EXPECT_EQ(Run(Scale{3}, report, 2), 0);
  EXPECT_EQ(Run(&Scale::Twice, Scale{4}, report), 0);
  EXPECT_EQ(Run(Bind(Scale{5}, report), 2), 0);
  EXPECT_EQ(listener.Hear(), "lambda generic 6810");
}

TEST_P(ProcessTest, SendsLargeArguments) {
  const std::string large(5 << 20, 'x');
  EXPECT_EQ(
      Run([](const std::string& text) { Exit(text.size() == 5 << 20); }, large),
      1);
}

TEST_P(ProcessTest, SendsManyDescriptors) {
  Listener listener;
  const std::vector<Report> reports(600, listener.report());
  EXPECT_EQ(Run(
                [](const std::vector<Report>& reports) {
                  for (const Report& report : reports) Say(report, ".");
                },
                reports),
            0);
  EXPECT_EQ(listener.Hear(), std::string(600, '.'));
}

TEST_P(ProcessTest, ExitCodeIsThatOfExit) {
  EXPECT_EQ(Run([] { Exit(7); }), 7);
  EXPECT_EQ(Run([] { Exit(256); }), 0);
  EXPECT_EQ(Run([] { Exit(-1); }), 255);
}

TEST_P(ProcessTest, ResultThatIsNoStatusIsIgnored) {
  EXPECT_EQ(Run([] { return 5; }), 0);
}

TEST_P(ProcessTest, FailedStatusAndExceptionExitWith1) {
  EXPECT_EQ(Run([] { return absl::NotFoundError("nothing there"); }), 1);
  EXPECT_EQ(Run([] { return absl::StatusOr<int>(absl::AbortedError("x")); }),
            1);
  EXPECT_EQ(Run([] { throw std::runtime_error("thrown"); }), 1);
  EXPECT_EQ(Run([] { throw 42; }), 1);
  EXPECT_EQ(Run([] { return absl::OkStatus(); }), 0);
}

TEST_P(ProcessTest, HasALife) {
  auto release = testing::Marker::Create();
  ASSERT_THAT(release, IsOk());
  Process process(options(), AwaitRelease, Copy(release->reader()));
  EXPECT_EQ(process.pid(), std::nullopt);
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_FALSE(process.IsAlive());
  EXPECT_THAT(process.Join(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("not started")));
  EXPECT_THAT(process.sentinel(),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));

  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_TRUE(process.IsAlive());
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_EQ(is_thread(), process.pid() == getpid());
  EXPECT_THAT(process.Join(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_THAT(process.Join(absl::Seconds(-1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("before")));
  EXPECT_THAT(process.Close(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("Join")));

  ASSERT_THAT(release->Signal(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
  EXPECT_FALSE(process.IsAlive());
  EXPECT_THAT(process.exitcode(), Optional(0));
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_THAT(process.Close(), IsOk());
  EXPECT_THAT(process.Join(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("closed")));
}

TEST_P(ProcessTest, SentinelBecomesReadableAtTheEnd) {
  Process process(options(), [] {});
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.sentinel(), IsOk());
  EXPECT_THAT(WaitForFd(*process.sentinel(), POLLIN, Deadline(kLong)),
              IsOkAndHolds(true));
  EXPECT_THAT(process.exitcode(), Optional(0));
}

TEST_P(ProcessTest, KnowsItsNameAndWhetherItIsADaemon) {
  Listener listener;
  const auto say = [](const Report& report) {
    const internal::Identity& me = internal::CurrentIdentity();
    Say(report, absl::StrCat(me.name, me.daemon ? " daemon" : ""));
  };
  ProcessOptions named = options();
  named.name = "reader";
  named.daemon = true;
  Process process(std::move(named), say, listener.report());
  EXPECT_EQ(process.name(), "reader");
  EXPECT_EQ(ExitCodeOf(process), 0);
  EXPECT_EQ(listener.Hear(), "reader daemon");
}

TEST_P(ProcessTest, DaemonMayNotHaveChildren) {
  ProcessOptions daemon = options();
  daemon.daemon = true;
  Process process(std::move(daemon), [] {
    Process child({.context = StartMethod::kFork}, [] {});
    const absl::Status status = child.Start();
    Exit(absl::IsFailedPrecondition(status) ? 17 : 1);
  });
  EXPECT_EQ(ExitCodeOf(process), 17);
}

void Descend(int levels, StartMethod method, const Report& report) {
  Say(report, absl::StrCat(levels));
  if (levels == 0) return;
  Process child({.context = method}, Descend, levels - 1, method, report);
  MP_CHECK_OK(child.Start());
  MP_CHECK_OK(child.Join(kLong));
  if (child.exitcode() != 0) Exit(1);
}

TEST_P(ProcessTest, ProcessesStartProcesses) {
  Listener listener;
  EXPECT_EQ(Run(Descend, 3, GetParam(), listener.report()), 0);
  EXPECT_EQ(listener.Hear(), "3210");
}

TEST_P(ProcessTest, AHundredLeaveNothingBehind) {
  Run([] {});  // a fork server may start, and stays
  LeakCheck leak_check;
  std::vector<Process> processes;
  for (int i = 0; i < 100; ++i) {
    processes.emplace_back(
        options(), [](int code) { Exit(code); }, i);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(processes[i].Join(kLong), IsOk());
    EXPECT_THAT(processes[i].exitcode(), Optional(i));
  }
}

TEST_P(SentProcessTest, FailedStartLeavesNothingBehindAndCanBeRepeated) {
  Run([] {});
  LeakCheck leak_check;
  Listener listener;
  Report closed = {std::make_shared<Fd>()};
  Process process(
      options(), [](const Report& report) { Say(report, "late"); }, closed);
  EXPECT_THAT(process.Start(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("Process::Start"), HasSubstr("fd"))));
  *closed.fd = Fd(dup(listener.report().fd->get()));
  EXPECT_EQ(ExitCodeOf(process), 0);
  closed.fd->Close();
  process.Close().IgnoreError();
  EXPECT_EQ(listener.Hear(), "late");
}

TEST_P(SentProcessTest, WorksFromSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back(
        [&, i] { right += Run([](int code) { Exit(code); }, i) == i ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
}

TEST_P(ProcessTest, ManyThreadsMayJoinOneProcess) {
  auto release = testing::Marker::Create();
  ASSERT_THAT(release, IsOk());
  Process process(
      options(),
      [](const Report& release) {
        AwaitRelease(release);
        Exit(9);
      },
      Copy(release->reader()));
  ASSERT_THAT(process.Start(), IsOk());
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      right += process.Join(kLong).ok() && process.exitcode() == 9 ? 1 : 0;
    });
  }
  ASSERT_THAT(release->Signal(), IsOk());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 8);
}

TEST_P(RealProcessTest, SignalsEndItWithAMinusCode) {
  const auto sleep = [] {
    while (true) pause();
  };
  Process terminated(options(), sleep);
  ASSERT_THAT(terminated.Start(), IsOk());
  EXPECT_THAT(terminated.Terminate(), IsOk());
  EXPECT_THAT(terminated.Join(kLong), IsOk());
  EXPECT_THAT(terminated.exitcode(), Optional(-SIGTERM));
  EXPECT_THAT(terminated.Terminate(), IsOk());

  Process killed(options(), sleep);
  ASSERT_THAT(killed.Start(), IsOk());
  EXPECT_THAT(killed.Kill(), IsOk());
  EXPECT_THAT(killed.Join(kLong), IsOk());
  EXPECT_THAT(killed.exitcode(), Optional(-SIGKILL));
}

TEST_P(RealProcessTest, HasTheCallersDirectoryAndEnvironment) {
  Run([] {});  // a fork server starts before they change
  const auto before = std::filesystem::current_path();
  ASSERT_EQ(chdir("/proc"), 0);
  setenv("MP_TEST_VARIABLE", "of the caller", 1);
  Listener listener;
  EXPECT_EQ(Run(
                [](const Report& report) {
                  const char* const value = getenv("MP_TEST_VARIABLE");
                  Say(report,
                      absl::StrCat(std::filesystem::current_path().native(),
                                   " ", value == nullptr ? "" : value));
                },
                listener.report()),
            0);
  unsetenv("MP_TEST_VARIABLE");
  ASSERT_EQ(chdir(before.c_str()), 0);
  EXPECT_EQ(listener.Hear(), "/proc of the caller");
}

TEST_P(RealProcessTest, WritesToTheCallersStdout) {
  Run([] {});  // a fork server starts before it changes
  Listener listener;
  const Fd stdout_before(dup(STDOUT_FILENO));
  std::cout.flush();
  ASSERT_GE(dup2(listener.report().fd->get(), STDOUT_FILENO), 0);
  const int code = Run([] { std::cout << "redirected"; });
  ASSERT_GE(dup2(stdout_before.get(), STDOUT_FILENO), 0);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(listener.Hear(), "redirected");
}

TEST_P(RealProcessTest, StdinIsEmpty) {
  EXPECT_EQ(Run([] {
              char byte;
              Exit(read(STDIN_FILENO, &byte, 1) == 0 ? 21 : 1);
            }),
            21);
}

TEST_P(CleanProcessTest, InheritsNoOtherDescriptors) {
  const Fd stray(fcntl(STDERR_FILENO, F_DUPFD, 100));
  EXPECT_EQ(Run([](int stray) { Exit(fcntl(stray, F_GETFD) < 0 ? 22 : 1); },
                stray.get()),
            22);
}

TEST_P(CleanProcessTest, DescriptorsDoNotGrowWithSiblings) {
  const auto count = [] {
    Exit(static_cast<int>(testing::ResourceSnapshot::Take().fds().size()));
  };
  const int alone = Run(count);
  std::vector<Process> siblings;
  for (int i = 0; i < 10; ++i) {
    siblings.emplace_back(options(), [] { pause(); });
    ASSERT_THAT(siblings.back().Start(), IsOk());
  }
  EXPECT_EQ(Run(count), alone);
  for (Process& sibling : siblings) {
    EXPECT_THAT(sibling.Kill(), IsOk());
    EXPECT_THAT(sibling.Join(kLong), IsOk());
  }
}

TEST(ProcessForkTest, InheritsDescriptors) {
  const Fd stray(fcntl(STDERR_FILENO, F_DUPFD, 100));
  Process process(
      {.context = StartMethod::kFork},
      [](int stray) { Exit(fcntl(stray, F_GETFD) == 0 ? 22 : 1); },
      stray.get());
  EXPECT_EQ(ExitCodeOf(process), 22);
}

TEST(ProcessForkTest, ForkContextTakesAnyCallable) {
  Listener listener;
  const std::string text = "captured by reference";
  const Report* const pointer = &listener.report();
  Process process(ForkContext(), [&] { Say(*pointer, text); });
  EXPECT_EQ(ExitCodeOf(process), 0);
  EXPECT_EQ(listener.Hear(), text);
}

TEST(ProcessForkTest, ArgumentIsSentAndTheCallersIsNotTouched) {
  static int address_of_original = 0;
  const std::vector<int> numbers = {1, 2, 3};
  address_of_original =
      static_cast<int>(reinterpret_cast<uintptr_t>(numbers.data()));
  Process process(
      {.context = StartMethod::kFork},
      [](const std::vector<int>& numbers) {
        Exit(static_cast<int>(reinterpret_cast<uintptr_t>(numbers.data())) ==
                     address_of_original
                 ? 1
                 : 24);
      },
      numbers);
  EXPECT_EQ(ExitCodeOf(process), 24);
}

// What a program does that has never heard of us.
int ForkAndRun(void (*function)()) {
  const pid_t pid = fork();
  if (pid == 0) {
    function();
    std::exit(0);  // with all exit handlers
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST_P(CleanProcessTest, ForkOfTheProgramsOwnDoesNotEndItsProcesses) {
  Process daemon({.context = GetParam(), .daemon = true}, [] { pause(); });
  Process other(options(), [] { pause(); });
  ASSERT_THAT(daemon.Start(), IsOk());
  ASSERT_THAT(other.Start(), IsOk());
  EXPECT_EQ(ForkAndRun([] {}), 0);
  EXPECT_TRUE(daemon.IsAlive());
  EXPECT_TRUE(other.IsAlive());
  EXPECT_EQ(Run([] { Exit(5); }), 5);
  for (Process* process : {&daemon, &other}) {
    EXPECT_THAT(process->Kill(), IsOk());
    EXPECT_THAT(process->Join(kLong), IsOk());
  }
}

TEST_P(RealProcessTest, ForkOfTheProgramsOwnHasProcessesOfItsOwn) {
  Run([] {});
  LeakCheck leak_check;
  static StartMethod method;
  method = GetParam();
  EXPECT_EQ(ForkAndRun([] {
              Process process({.context = method}, [] { Exit(3); });
              std::exit(ExitCodeOf(process));
            }),
            3);
}

TEST_P(RealProcessTest, CanBeEndedThoughTheCallerBlocksSignals) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Process process(options(), [] {
    while (true) pause();
  });
  const absl::Status started = process.Start();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_THAT(started, IsOk());
  EXPECT_THAT(process.Terminate(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(-SIGTERM));
}

TEST_P(ProcessTest, MovedFromProcessRefuses) {
  Process process(options(), [] {});
  Process other = std::move(process);
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("moved from"));
  EXPECT_THAT(process.Start(), refused);  // NOLINT: that is the test
  EXPECT_THAT(process.Join(), refused);   // NOLINT
  EXPECT_THAT(process.Close(), refused);  // NOLINT
  EXPECT_FALSE(process.IsAlive());        // NOLINT
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_EQ(process.pid(), std::nullopt);
  EXPECT_EQ(process.name(), "");
  EXPECT_EQ(ExitCodeOf(other), 0);
}

TEST_P(RealProcessTest, StartsFromThreadsWhileOthersStartToo) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 10; ++j) {
        right += Run([](int code) { Exit(code); }, i) == i ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 40);
}

// The C library does not give a forked child back the lock that another thread
// held in dl_iterate_phdr(3).
TEST(ProcessForkTest, ChildNeedsNoLockOfTheLoader) {
  std::atomic<bool> done{false};
  std::thread holder([&] {
    while (!done) {
      dl_iterate_phdr(
          [](dl_phdr_info*, size_t, void*) {
            usleep(500);
            return 1;
          },
          nullptr);
    }
  });
  int right = 0;
  for (int i = 0; i < 50; ++i) {
    Process process({.context = StartMethod::kFork}, [] { Exit(3); });
    right += ExitCodeOf(process) == 3 ? 1 : 0;
  }
  done = true;
  holder.join();
  EXPECT_EQ(right, 50);
}

TEST(ProcessThreadTest, CannotBeKilled) {
  auto release = testing::Marker::Create();
  ASSERT_THAT(release, IsOk());
  Process process({.context = StartMethod::kThread}, AwaitRelease,
                  Copy(release->reader()));
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(process.Kill(), StatusIs(absl::StatusCode::kUnimplemented, _));
  ASSERT_THAT(release->Signal(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
}

TEST(ProcessThreadTest, SharesArgumentsOnRequest) {
  static int called = 0;
  Process copy(
      {.context = StartMethod::kThread},
      [](const Report& report) { called = report.fd->get(); },
      Report{std::make_shared<Fd>(dup(0))});
  EXPECT_EQ(ExitCodeOf(copy), 0);
  const Report report = {std::make_shared<Fd>(dup(0))};
  EXPECT_NE(called, report.fd->get());
  Process shared(
      {.context = StartMethod::kThread, .share_arguments = true},
      [](const Report& report) { called = report.fd->get(); }, report);
  EXPECT_EQ(ExitCodeOf(shared), 0);
  EXPECT_EQ(called, report.fd->get());
}

}  // namespace
}  // namespace mp
