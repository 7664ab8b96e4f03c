// Runs the real program. What happens when processes die is in
// checksum_death_test.cc.

#include <fcntl.h>
#include <linux/capability.h>
#include <pty.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "examples/internal/checksum_tool.h"
#include "examples/internal/program_run.h"
#include "examples/internal/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/testing/child.h"

namespace examples {
namespace {

using ::mp::testing::ExitedWith;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr off_t kTiB = off_t{1} << 40;
constexpr off_t kGiB = off_t{1} << 30;

// Runs the program with some arguments, in the folder of the test.
class ChecksumTest : public ::testing::Test {
 protected:
  ProgramResult Checksum(const std::vector<std::string>& arguments,
                         const std::function<void()>& prepare = nullptr) {
    return ProgramRun(ChecksumCommand(arguments), {tree_.path(), prepare})
        .Wait();
  }

  std::string Sha256sum(const std::vector<std::string>& folders,
                        const std::function<void()>& prepare = nullptr) {
    return Sha256sumOutput(folders, {tree_.path(), prepare});
  }

  void MakeManyFiles() {
    for (int i = 0; i < 300; ++i) {
      tree_.MakeFile(absl::StrCat("r/", i % 7, "/", i), std::string(i, 'x'));
    }
  }

  TestTree tree_;
};

// The same, for each start method and some numbers of processes.
class ChecksumEverywhereTest
    : public ChecksumTest,
      public ::testing::WithParamInterface<std::tuple<const char*, int>> {
 protected:
  ProgramResult Checksum(std::vector<std::string> arguments,
                         const std::function<void()>& prepare = nullptr) {
    const auto [start_method, processes] = GetParam();
    arguments.insert(arguments.begin(),
                     {absl::StrCat("--start_method=", start_method),
                      absl::StrCat("--processes=", processes)});
    return ChecksumTest::Checksum(arguments, prepare);
  }
};

INSTANTIATE_TEST_SUITE_P(Each, ChecksumEverywhereTest,
                         ::testing::Combine(::testing::Values("forkserver",
                                                              "fork", "spawn",
                                                              "thread"),
                                            ::testing::Values(1, 2, 8)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param));
                         });

TEST_P(ChecksumEverywhereTest, PrintsWhatSha256sumPrints) {
  MakeManyFiles();
  for (const char* name :
       {"new\nline", "\n", "back\\slash", "\\", "\r", "\\\r\n", "a b", " ", "-",
        "--help", "tab\t", "\x01\x1b[31m", "\xff\xfe", "\xc3\xa4", "*",
        "'\""}) {
    tree_.MakeFile(name, name);
    tree_.MakeFile(absl::StrCat("folder ", name, "/", name), "content");
  }
  tree_.MakeFile("empty");
  tree_.MakeFile("large", std::string(3000000, 'y'));
  tree_.MakeLink("large", "link");
  tree_.MakeLink("nowhere", "dangling");
  tree_.MakeLink(".", "loop");
  tree_.MakeFifo("fifo");

  const std::string expected = Sha256sum({"."});
  ASSERT_THAT(expected, HasSubstr("\\\\\\r\\n\n"));
  const ProgramResult result = Checksum({"."});
  EXPECT_EQ(result.out, expected);
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.status, ExitedWith(0));
}

TEST_P(ChecksumEverywhereTest, PrintsNothingForNoFiles) {
  tree_.MakeFolder("r/only/folders");
  const ProgramResult result = Checksum({"r"});
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.status, ExitedWith(0));
}

TEST_P(ChecksumEverywhereTest, NamesAFileThatCannotBeReadAndGoesOn) {
  MakeManyFiles();
  // A regular file, but its first page is not mapped.
  const ProgramResult result = Checksum({"r", "/proc/self/mem"});
  EXPECT_EQ(result.out, Sha256sum({"r"}));
  EXPECT_EQ(result.err, "checksum: /proc/self/mem: Input/output error\n");
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_P(ChecksumEverywhereTest, EndsWhenNobodyReadsItsOutput) {
  MakeManyFiles();
  tree_.MakeSparseFile("r/very_long", kTiB);
  const ProgramResult result = Checksum({"r"}, [] {
    int ends[2];
    if (pipe(ends) != 0) abort();
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
  });
  EXPECT_THAT(result.err, AllOf(StartsWith("checksum: stdout: "),
                                EndsWith(": Broken pipe\n")));
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_P(ChecksumEverywhereTest, NeedsNeitherStdinNorStderr) {
  MakeManyFiles();
  const ProgramResult result = Checksum({"r"}, [] {
    close(STDIN_FILENO);
    close(STDERR_FILENO);
  });
  EXPECT_EQ(result.out, Sha256sum({"r"}));
  EXPECT_THAT(result.status, ExitedWith(0));
}

TEST_P(ChecksumEverywhereTest, SaysSoIfItCannotStartAnyWorker) {
  MakeManyFiles();
  const ProgramResult result = Checksum({"r"}, [] {
    const rlimit limit = {6, 6};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) abort();
  });
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, AllOf(StartsWith("checksum: "),
                                EndsWith(": Too many open files\n")));
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_F(ChecksumTest, MakesDoWithTheWorkersItCanStart) {
  MakeManyFiles();
  const ProgramResult result = Checksum({"--processes=64", "r"}, [] {
    const rlimit limit = {40, 40};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) abort();
  });
  EXPECT_EQ(result.out, Sha256sum({"r"}));
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.status, ExitedWith(0));
}

TEST_F(ChecksumTest, NamesAreAsFindHasThem) {
  tree_.MakeFile("r/s/f", "content");
  tree_.MakeLink("r", "link");
  for (const auto& roots :
       std::vector<std::vector<std::string>>{{"r/"},
                                             {"r//"},
                                             {"./r"},
                                             {"r/../r/s"},
                                             {"r", "r/s"},
                                             {"link/"},
                                             {"r/s/f"},
                                             {tree_.path()}}) {
    EXPECT_EQ(Checksum(roots).out, Sha256sum(roots)) << roots[0];
  }
  EXPECT_THAT(Checksum({"link"}).out, IsEmpty());
  EXPECT_THAT(Sha256sum({"link"}), IsEmpty());
}

TEST_F(ChecksumTest, NamesWhatItMayNotRead) {
  tree_.MakeFile("a", "content");
  tree_.MakeFile("locked/f");
  tree_.MakeFile("secret");
  tree_.MakeFile("z", "content");
  chmod(tree_.PathOf("locked").c_str(), 0);
  chmod(tree_.PathOf("secret").c_str(), 0);
  const ProgramResult result = Checksum({"."}, [] {
    // What lets root read all; the others do not have it (man 7 capabilities).
    prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE);
    prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH);
  });
  EXPECT_EQ(result.out, Sha256sum({"./a", "./z"}));
  EXPECT_EQ(result.err,
            "checksum: ./locked: Permission denied\n"
            "checksum: ./secret: Permission denied\n");
  EXPECT_THAT(result.status, ExitedWith(1));
  chmod(tree_.PathOf("locked").c_str(), 0755);
}

TEST_F(ChecksumTest, NamesAFolderThatIsNotThere) {
  tree_.MakeFile("f");
  const ProgramResult result = Checksum({"none", "f", "odd\n\x1b"});
  EXPECT_EQ(result.out, Sha256sum({"f"}));
  EXPECT_EQ(result.err,
            "checksum: none: No such file or directory\n"
            "checksum: odd\\n\\033: No such file or directory\n");
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_F(ChecksumTest, SaysThatTheDiskIsFull) {
  tree_.MakeFile("f");
  const ProgramResult result = Checksum({"f"}, [] {
    dup2(open("/dev/full", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
  });
  EXPECT_THAT(result.err, EndsWith(": No space left on device\n"));
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_F(ChecksumTest, SaysThatStdoutIsClosed) {
  tree_.MakeFile("f");
  const ProgramResult result = Checksum({"f"}, [] { close(STDOUT_FILENO); });
  EXPECT_EQ(result.err, "checksum: stdout: Bad file descriptor\n");
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_F(ChecksumTest, RefusesWrongOptions) {
  const ProgramResult none = Checksum({"--processes=0", "."});
  EXPECT_EQ(none.err, "checksum: --processes=0: at least 1 is needed\n");
  EXPECT_THAT(none.status, ExitedWith(2));

  const ProgramResult unknown = Checksum({"--start_method=clone", "."});
  EXPECT_THAT(unknown.err,
              AllOf(StartsWith("checksum: "), HasSubstr("\"clone\"")));
  EXPECT_THAT(unknown.status, ExitedWith(2));

  const ProgramResult no_folder = Checksum({});
  EXPECT_EQ(no_folder.err, "checksum: no folder given; see --help\n");
  EXPECT_THAT(no_folder.status, ExitedWith(2));

  EXPECT_THAT(none.out + unknown.out + no_folder.out, IsEmpty());
}

TEST_F(ChecksumTest, HasOneProcessForEachCpuThatItMayUse) {
  const ProgramResult result = Checksum({"--help"}, [] {
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) abort();
    int one = 0;
    while (!CPU_ISSET(one, &cpus)) ++one;
    CPU_ZERO(&cpus);
    CPU_SET(one, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) abort();
  });
  EXPECT_THAT(result.out, HasSubstr("default: 1;"));
}

TEST_F(ChecksumTest, UnderBazelRunNamesAreRelativeToTheCallersFolder) {
  tree_.MakeFile("here/r/f", "content");
  const std::string here = tree_.PathOf("here");
  const ProgramResult result = Checksum(
      {"r"}, [&] { setenv("BUILD_WORKING_DIRECTORY", here.c_str(), 1); });
  EXPECT_EQ(result.out, Sha256sumOutput({"r"}, {here}));
  EXPECT_THAT(result.status, ExitedWith(0));
}

// Reads what a program writes to a terminal until it closes it.
std::string ReadTerminal(int fd) {
  std::string text;
  char buffer[4096];
  ssize_t got;
  while ((got = read(fd, buffer, sizeof(buffer))) > 0) text.append(buffer, got);
  return text;  // the end of a terminal is an error, EIO
}

TEST_F(ChecksumTest, ShowsOnATerminalHowFarItIs) {
  tree_.MakeSparseFile("long", kGiB);
  int reader_fd, terminal_fd;
  const winsize size = {/*ws_row=*/24, /*ws_col=*/100, 0, 0};
  ASSERT_EQ(openpty(&reader_fd, &terminal_fd, nullptr, nullptr, &size), 0);
  const mp::Fd reader(reader_fd);
  mp::Fd terminal(terminal_fd);
  ProgramRun run(ChecksumCommand({"long"}),
                 {tree_.path(), [&] { dup2(terminal_fd, STDERR_FILENO); }});
  terminal.Close();

  const std::string shown = ReadTerminal(reader.get());
  EXPECT_THAT(shown, AllOf(StartsWith("\r\x1b[K["), EndsWith("\r\x1b[K")));
  EXPECT_THAT(shown, AllOf(HasSubstr(" of 1.0 GiB  "), HasSubstr("/s  0:0"),
                           HasSubstr(" left")));
  const ProgramResult result = run.Wait();
  EXPECT_THAT(result.out, EndsWith("  long\n"));
  EXPECT_THAT(result.status, ExitedWith(0));
}

}  // namespace
}  // namespace examples
