// What is around a function's process when its options say so.

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/process/stdio.h"
#include "mp/process/surroundings.h"
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
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;

class ProcessSurroundingsTest : public internal::StartMethodTest {
 protected:
  // Runs a function in these surroundings and returns its exit code.
  template <typename F, typename... Args>
  std::optional<int> RunIn(Surroundings surroundings, F function,
                           Args&&... args) {
    Process process(
        {.context = GetParam(), .surroundings = std::move(surroundings)},
        function, std::forward<Args>(args)...);
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join(kLong));
    return process.exitcode();
  }

  absl::Status TryToStart(Surroundings surroundings) {
    Process process(
        {.context = GetParam(), .surroundings = std::move(surroundings)},
        [] {});
    return process.Start();
  }
};

MP_INSTANTIATE_TEST_SUITE(ProcessSurroundingsTest, RealStartMethods);

TEST_P(ProcessSurroundingsTest, WorkingDirectory) {
  Listener listener;
  EXPECT_THAT(RunIn(
                  {.cwd = "/proc"},
                  [](const Report& report) {
                    Say(report, std::filesystem::current_path().native());
                  },
                  listener.report()),
              Optional(0));
  EXPECT_EQ(listener.Hear(), "/proc");
}

TEST_P(ProcessSurroundingsTest, Environment) {
  setenv("MP_TEST_OLD", "old", 1);
  setenv("MP_TEST_OTHER", "other", 1);
  Listener listener;
  const auto say = [](const Report& report) {
    for (const char* name : {"MP_TEST_OLD", "MP_TEST_OTHER", "MP_TEST_NEW"}) {
      const char* const value = getenv(name);
      Say(report, absl::StrCat(value == nullptr ? "-" : value, " "));
    }
  };
  EXPECT_THAT(RunIn({.set_variables = {{"MP_TEST_NEW", "new"}},
                     .unset_variables = {"MP_TEST_OLD"}},
                    say, listener.report()),
              Optional(0));
  const std::map<std::string, std::string> only = {{"MP_TEST_NEW", "only"}};
  EXPECT_THAT(RunIn({.environment = only}, say, listener.report()),
              Optional(0));
  unsetenv("MP_TEST_OLD");
  unsetenv("MP_TEST_OTHER");
  EXPECT_EQ(listener.Hear(), "- other new - - only ");
}

TEST_P(ProcessSurroundingsTest, Stdio) {
  const std::string path =
      absl::StrCat(::testing::TempDir(), "/stdio_", getpid());
  Listener listener;
  EXPECT_THAT(
      RunIn({.stdin_from = Stdio::File("/proc/self/comm", Stdio::Mode::kRead),
             .stdout_to = Stdio::File(path, Stdio::Mode::kTruncate),
             .stderr_to = Stdio::FromFd(listener.report().fd->get())},
            [] {
              char byte;
              if (read(STDIN_FILENO, &byte, 1) != 1) Exit(1);
              std::cout << "to a file";
              std::cerr << "to a pipe";
            }),
      Optional(0));
  EXPECT_EQ(listener.Hear(), "to a pipe");
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(ReadToEnd(file.get()).value_or("?"), "to a file");
  std::filesystem::remove(path);
}

TEST_P(ProcessSurroundingsTest, StderrToStdout) {
  Listener listener;
  EXPECT_THAT(RunIn({.stdout_to = Stdio::FromFd(listener.report().fd->get()),
                     .stderr_to = Stdio::Stdout()},
                    [] { std::cerr << "both"; }),
              Optional(0));
  EXPECT_EQ(listener.Hear(), "both");
}

TEST_P(ProcessSurroundingsTest, CpusNiceLimitsAndUmask) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof(mine), &mine), 0);
  int last = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mine)) last = cpu;
  }
  rlimit files;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_THAT(RunIn(
                  {.cpu_affinity = {last},
                   .nice = 19,
                   .rlimits = {{RLIMIT_NOFILE, 77, files.rlim_max}},
                   .umask = 0123},
                  [](int last) {
                    cpu_set_t cpus;
                    sched_getaffinity(0, sizeof(cpus), &cpus);
                    rlimit files;
                    getrlimit(RLIMIT_NOFILE, &files);
                    const bool right = CPU_COUNT(&cpus) == 1 &&
                                       CPU_ISSET(last, &cpus) &&
                                       getpriority(PRIO_PROCESS, 0) == 19 &&
                                       files.rlim_cur == 77 && umask(0) == 0123;
                    Exit(right ? 23 : 1);
                  },
                  last),
              Optional(23));
}

TEST_P(ProcessSurroundingsTest, WhatIsWrongIsAnErrorOfStart) {
  EXPECT_THAT(
      TryToStart({.cwd = "/no such folder"}),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("Process::Start"), HasSubstr("/no such"))));
  EXPECT_THAT(
      TryToStart({.cpu_affinity = {100000}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100000")));
  EXPECT_THAT(TryToStart({.nice = 100}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100")));
  EXPECT_THAT(TryToStart({.stdout_to = Stdio::FromFd(12345)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("12345")));
  EXPECT_THAT(TryToStart({.stdout_to = Stdio::Pipe()}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(ProcessSurroundingsThreadTest, AThreadHasThoseOfItsProcess) {
  Process process(
      {.context = StartMethod::kThread, .surroundings = {.cwd = "/"}}, [] {});
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("thread")));
}

}  // namespace
}  // namespace mp
