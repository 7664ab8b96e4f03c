// What CPython's test suite asks of whole programs; see docs/conformance.md.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// testdata/conformance_program.cc, running in a folder of its own.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments,
                   const std::vector<std::string>& variables = {})
      : folder_(::testing::TempDir() + "/program_XXXXXX"), child_(-1) {
    if (mkdtemp(folder_.data()) == nullptr) std::abort();
    arguments.insert(
        arguments.begin(),
        std::filesystem::absolute("mp/process/testdata/conformance_program"));
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int input[2];
    int output[2];
    if (pipe2(input, O_CLOEXEC) != 0) std::abort();
    if (pipe2(output, O_CLOEXEC) != 0) std::abort();
    const Fd input_reader(input[0]);
    input_ = Fd(input[1]);
    output_ = Fd(output[0]);
    const Fd output_writer(output[1]);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(input_reader.get(), STDIN_FILENO);
      dup2(output_writer.get(), STDOUT_FILENO);
      dup2(output_writer.get(), STDERR_FILENO);
      setenv("TMPDIR", folder_.c_str(), 1);
      for (const std::string& variable : variables) {
        putenv(const_cast<char*>(variable.c_str()));
      }
      if (chdir(folder_.c_str()) == 0) execv(argv[0], argv.data());
      _exit(126);
    }
    child_ = Child(pid);
  }
  ~Program() { std::filesystem::remove_all(folder_); }

  Child& child() { return child_; }

  // Ends its stdin, for which it may wait.
  void Release() { input_.Close(); }

  // Returns the next line that it, or a child of it, writes.
  std::string ReadLine() {
    std::string line;
    char byte;
    while (ReadUpTo(output_.get(), &byte, 1).value_or(0) == 1 && byte != '\n') {
      line += byte;
    }
    return line;
  }

  // Returns all other lines. That this is known to be all means that no process
  // of the program is left.
  std::vector<std::string> ReadLines() {
    const std::string rest = ReadToEnd(output_.get()).value_or("(unreadable)");
    return absl::StrSplit(rest, '\n', absl::SkipEmpty());
  }

  // Returns what there is in its folder.
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      files.push_back(entry.path());
    }
    return files;
  }

 private:
  std::string folder_;
  Child child_;
  Fd input_;
  Fd output_;
};

class ProgramConformanceTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(RealStartMethods, ProgramConformanceTest,
                         ::testing::Values("forkserver", "fork", "spawn"),
                         [](const auto& info) { return info.param; });

class NewProgramConformanceTest : public ProgramConformanceTest {};
INSTANTIATE_TEST_SUITE_P(CleanStartMethods, NewProgramConformanceTest,
                         ::testing::Values("forkserver", "spawn"),
                         [](const auto& info) { return info.param; });

// TestNoForkBomb.test_noforkbomb. The program, and once the new process or the
// fork server, run what runs before main(); it is refused, and nothing else.
TEST_P(NewProgramConformanceTest, StartBeforeMainIsRefusedAndDoesNotRecurse) {
  Program program({GetParam(), "run"},
                  {absl::StrCat("MP_TEST_START_EARLY=", GetParam())});
  EXPECT_THAT(program.ReadLines(),
              UnorderedElementsAre(HasSubstr("early: FAILED_PRECONDITION"),
                                   HasSubstr("early: FAILED_PRECONDITION"),
                                   "child", "main"));
  EXPECT_THAT(program.child().Wait(), ExitedWith(0));
}

// MiscTestCase.test_preload_main_large_sys_argv, test_preload_main_sys_argv
TEST_P(NewProgramConformanceTest, LargeCommandLineReachesTheNewProgram) {
  std::vector<std::string> arguments = {GetParam(), "count_arguments"};
  arguments.resize(5002, std::string(100, 'x'));
  Program program(arguments);
  EXPECT_THAT(program.ReadLines(),
              ElementsAre("5003 arguments", "child", "main"));
  EXPECT_THAT(program.child().Wait(), ExitedWith(0));
}

// Returns what has a name in /dev/shm and is ours by that.
std::vector<std::string> NamedMemory() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator("/dev/shm", none)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, "mp") || absl::StartsWith(name, "sem.mp")) {
      names.push_back(name);
    }
  }
  return names;
}

// TestResourceTracker.test_resource_tracker. We have no names for anything, and
// so nobody to clean up behind a process that is killed.
TEST_P(ProgramConformanceTest, NothingIsLeftOfAProgramThatIsKilled) {
  Program program({GetParam(), "hold"});
  std::vector<std::string> ready = {program.ReadLine(), program.ReadLine()};
  ASSERT_THAT(ready, UnorderedElementsAre("daemon", "child"));
  program.child().Kill(SIGKILL);
  program.child().Wait();
  EXPECT_THAT(program.ReadLines(), ElementsAre("child saw it"));
  EXPECT_THAT(program.Files(), IsEmpty());
  EXPECT_THAT(NamedMemory(), IsEmpty());
}

// A program with a fork server that has forked another process by itself.
struct WithRawFork {
  WithRawFork() : program({"forkserver", "raw_fork"}) {
    server = OpenNext("server ");
    forked = OpenNext("forked ");
  }
  ~WithRawFork() { SendSignal(forked, SIGKILL).IgnoreError(); }

  Fd OpenNext(absl::string_view what) {
    const std::string line = program.ReadLine();
    absl::string_view number = line;
    pid_t pid = 0;
    if (!absl::ConsumePrefix(&number, what) ||
        !absl::SimpleAtoi(number, &pid)) {
      ADD_FAILURE() << "it said: " << line;
      return Fd();
    }
    return OpenPidfd(pid).value();
  }

  Program program;
  Fd server;
  Fd forked;
};

bool HasEnded(const Fd& pidfd, absl::Duration timeout) {
  return WaitForFd(pidfd.get(), POLLIN, Deadline(timeout)).value();
}

// TestResourceTracker.test_resource_tracker_raw_fork_prompt_reap
TEST(RawForkConformanceTest, ServerEndsWithItsProgramThoughTheForkLivesOn) {
  WithRawFork raw;
  ASSERT_TRUE(raw.server.is_open() && raw.forked.is_open());
  raw.program.child().Kill(SIGKILL);
  raw.program.child().Wait();
  EXPECT_TRUE(HasEnded(raw.server, absl::Seconds(60)));
  EXPECT_FALSE(HasEnded(raw.forked, absl::ZeroDuration()));
}

TEST(RawForkConformanceTest, ProgramEndsThoughTheForkLivesOn) {
  WithRawFork raw;
  ASSERT_TRUE(raw.server.is_open() && raw.forked.is_open());
  raw.program.Release();
  EXPECT_THAT(raw.program.child().Wait(), ExitedWith(0));
  EXPECT_TRUE(HasEnded(raw.server, absl::Seconds(60)));
  EXPECT_FALSE(HasEnded(raw.forked, absl::ZeroDuration()));
}

}  // namespace
}  // namespace mp
