// Whole programs that start processes, seen from outside.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::ExitStatus;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

struct Result {
  ExitStatus status;
  // All that it and its children wrote to stdout or stderr. That this is known
  // to be all means that none of them is left.
  std::string output;

  std::vector<std::string> lines() const {
    return absl::StrSplit(output, '\n', absl::SkipEmpty());
  }
};

// Runs a program to its end and to that of all its children.
Result RunProgram(std::vector<std::string> arguments,
                  const std::vector<std::string>& variables = {}) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  Fd reader(ends[0]);
  Fd writer(ends[1]);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(writer.get(), STDOUT_FILENO);
    dup2(writer.get(), STDERR_FILENO);
    for (const std::string& variable : variables) {
      putenv(const_cast<char*>(variable.c_str()));
    }
    execv(argv[0], argv.data());
    _exit(126);
  }
  writer.Close();
  Child child(pid);
  std::string output = ReadToEnd(reader.get()).value_or("(unreadable)");
  return {child.Wait(), std::move(output)};
}

// Each of these programs says "main" below Init(), and "child" or "daemon" in
// a process; see testdata/program.cc.
constexpr char kProgram[] = "mp/process/testdata/program";

class ProgramTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(StartMethods, ProgramTest,
                         ::testing::Values("forkserver", "fork", "spawn",
                                           "thread"),
                         [](const auto& info) { return info.param; });

TEST_P(ProgramTest, NothingBelowInitRunsInAChild) {
  const Result result = RunProgram({kProgram, GetParam(), "children"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(),
              UnorderedElementsAre("main", "child", "child", "child"));
}

TEST_P(ProgramTest, WaitsAtExitForAProcessThatNobodyJoined) {
  const Result result = RunProgram({kProgram, GetParam(), "forgotten"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "child"));
}

TEST_P(ProgramTest, WaitsForAProcessThatAnExitHandlerStarts) {
  if (GetParam() == "thread") {
    GTEST_SKIP() << "a thread has no process to be alive or not";
  }
  const Result result = RunProgram({kProgram, GetParam(), "late"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "child", "child"));
}

TEST_P(ProgramTest, EndsDaemonsAtExit) {
  const Result result = RunProgram({kProgram, GetParam(), "daemon"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "daemon"));
}

TEST_P(ProgramTest, AutoInitNeedsNoEdit) {
  const Result result = RunProgram(
      {"mp/process/testdata/auto_init_program", GetParam(), "children"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(),
              UnorderedElementsAre("main", "child", "child", "child"));
}

TEST_P(ProgramTest, AutoInitFindsAMainInASharedLibrary) {
  const Result result = RunProgram(
      {"mp/process/testdata/shared_main_program", GetParam(), "children"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(),
              UnorderedElementsAre("main", "child", "child", "child"));
}

TEST_P(ProgramTest, RunsItsOwnImageThoughItsFileIsAnother) {
  std::string path = absl::StrCat(::testing::TempDir(), "/program_XXXXXX");
  Fd copy(mkostemp(path.data(), O_CLOEXEC));
  ASSERT_TRUE(copy.is_open());
  copy.Close();  // or it could not be executed (man 2 execve, ETXTBSY)
  std::filesystem::copy_file(kProgram, path,
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  const Result result = RunProgram({path, GetParam(), "replaced"});
  std::filesystem::remove(path);
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "child"));
}

TEST_P(ProgramTest, DaemonThatIgnoresSigtermIsKilledInTheEnd) {
  const Result result = RunProgram({kProgram, GetParam(), "stubborn"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "daemon"));
}

// With each of stdin and stderr closed, so that what is opened next takes its
// place.
TEST_P(ProgramTest, ClosedStdioIsNotMistakenForWhatIsOpenedNext) {
  for (const char* closed : {"stdin", "stderr", "both", "both_later"}) {
    const Result result =
        RunProgram({"/bin/sh", "-c",
                    absl::StrCat("exec ", kProgram, " ", GetParam(), " echo",
                                 closed == std::string("stdin")    ? " 0<&-"
                                 : closed == std::string("stderr") ? " 2>&-"
                                 : closed == std::string("both") ? " 0<&- 2>&-"
                                                                 : "_later")});
    EXPECT_THAT(result.status, ExitedWith(0)) << closed;
    EXPECT_THAT(result.lines(), UnorderedElementsAre("main", "child"))
        << closed;
  }
}

TEST_P(ProgramTest, ChildSetupThatThrowsIsNamed) {
  const bool is_new = GetParam() == "forkserver" || GetParam() == "spawn";
  const Result result = RunProgram({kProgram, GetParam(), "throwing_setup"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.output,
              HasSubstr(is_new ? "Process-1: cannot begin" : "child"));
}

TEST_P(ProgramTest, ProgramThatClosesAllDescriptorsIsToldSo) {
  const bool needs_them = GetParam() == "forkserver" || GetParam() == "spawn";
  const Result result = RunProgram({kProgram, GetParam(), "closed"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_THAT(result.output,
              HasSubstr(needs_them ? "closed by somebody else" : "child"));
}

TEST_P(ProgramTest, ChildSetupRunsInNewProgramsOnly) {
  const bool is_new = GetParam() == "forkserver" || GetParam() == "spawn";
  const Result result = RunProgram({kProgram, GetParam(), "setup"});
  EXPECT_THAT(result.status, ExitedWith(0));
  EXPECT_EQ(result.output,
            is_new ? "setup setup\nchild\nmain\n" : "child\nmain\n");
}

TEST(ForgedRoleTest, MainDoesNotRun) {
  for (const char* role : {"child:7", "server:0", "child:", "nonsense", ""}) {
    const Result result = RunProgram({kProgram, "fork", "children"},
                                     {absl::StrCat("MP_INTERNAL_ROLE=", role)});
    EXPECT_THAT(result.status, ExitedWith(255));
    EXPECT_THAT(result.output, HasSubstr("MP_INTERNAL_ROLE"));
  }
}

}  // namespace
}  // namespace mp
