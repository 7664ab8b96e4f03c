// What CPython's test suite asks of stdin, stdout and stderr of a process; see
// docs/conformance.md.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <stdexcept>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"

namespace mp {
namespace {

using ::mp::internal::ExitCodeOf;
using ::mp::internal::ForkServer;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::testing::AllOf;
using ::testing::HasSubstr;

class StdioConformanceTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(StdioConformanceTest, RealStartMethods);

// Closes a descriptor of this process, or puts another in its place, for the
// scope.
class Replaced {
 public:
  explicit Replaced(int fd, int other = -1)
      : fd_(fd), before_(Fd::DupOf(fd).value()) {
    std::cout.flush();
    std::cerr.flush();
    if (other >= 0) {
      dup2(other, fd_);
    } else {
      close(fd_);
    }
  }
  ~Replaced() { dup2(before_.get(), fd_); }

 private:
  const int fd_;
  const Fd before_;
};

void WriteToAll() {
  std::cout << "to be lost";
  std::cerr << "to be lost";
  std::printf("to be lost");
  std::fprintf(stderr, "to be lost");
}

// _TestProcess.test_error_on_stdio_flush_1
TEST_P(StdioConformanceTest, ProcessIsFineThoughTheCallersIsClosed) {
  const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    for (const bool new_server : {false, true}) {
      if (new_server) ForkServer::Get().Stop();
      int code;
      {
        const Replaced closed(fd);
        // What goes to the other one need not be seen either.
        const Replaced other(
            fd == STDERR_FILENO ? STDOUT_FILENO : STDERR_FILENO, null.get());
        code = Run(WriteToAll);
      }
      EXPECT_EQ(code, 0) << fd;
    }
  }
  ForkServer::Get().Stop();
}

// _TestProcess.test_error_on_stdio_flush_2
TEST_P(StdioConformanceTest, ProcessIsFineThoughItClosesItsOwn) {
  EXPECT_EQ(Run([] {
              close(STDOUT_FILENO);
              close(STDERR_FILENO);
              WriteToAll();
            }),
            0);
  EXPECT_EQ(Run([] {
              std::fclose(stdout);
              std::fclose(stderr);
              std::cout << "to be lost";
            }),
            0);
  EXPECT_EQ(Run([] {
              close(STDOUT_FILENO);
              close(STDERR_FILENO);
              Exit(5);
            }),
            5);
}

// _TestSubclassingProcess.test_stderr_flush, test_sys_exit with a reason
TEST_P(StdioConformanceTest, WhatWentWrongIsOnTheStderrOfTheMoment) {
  Run([] {});  // a fork server starts before it changes
  Listener listener;
  ProcessOptions named = options();
  named.name = "failing";
  Process fails(named, [] {
    std::cerr << "before\n";
    return absl::NotFoundError("the reason");
  });
  Process throws(named, [] { throw std::runtime_error("the other reason"); });
  int code_of_failing;
  int code_of_throwing;
  {
    const Replaced redirected(STDERR_FILENO, listener.report().fd->get());
    code_of_failing = ExitCodeOf(fails);
    code_of_throwing = ExitCodeOf(throws);
  }
  EXPECT_EQ(code_of_failing, 1);
  EXPECT_EQ(code_of_throwing, 1);
  EXPECT_THAT(listener.Hear(),
              AllOf(HasSubstr("before\n"),
                    HasSubstr("failing: NOT_FOUND: the reason\n"),
                    HasSubstr("failing: UNKNOWN: uncaught std::runtime_error: "
                              "the other reason\n")));
}

void AnswerThroughAChild(StartMethod method, const Report& report) {
  close(STDIN_FILENO);
  Process child(
      {.context = method},
      [](const Report& report) {
        char byte;
        Say(report, absl::StrCat("answer ", read(STDIN_FILENO, &byte, 1)));
      },
      report);
  if (ExitCodeOf(child) != 0) Exit(1);
}

// TestStdinBadfiledescriptor.test_queue_in_process, with a pipe for the queue
TEST_P(StdioConformanceTest, ProcessWithoutStdinStartsAnother) {
  Listener listener;
  EXPECT_EQ(Run(AnswerThroughAChild, GetParam(), listener.report()), 0);
  EXPECT_EQ(listener.Hear(), "answer 0");
}

}  // namespace
}  // namespace mp
