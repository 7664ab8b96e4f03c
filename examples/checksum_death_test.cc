// Runs the real program and kills its processes, or itself.
//
// Files of a TiB without content keep a worker busy for minutes, so that it is
// surely in the middle of one when it is killed.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/internal/checksum_tool.h"
#include "examples/internal/process_tree.h"
#include "examples/internal/program_run.h"
#include "examples/internal/test_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace examples {
namespace {

using ::mp::testing::ExitedWith;
using ::mp::testing::WasKilledBy;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAreArray;

constexpr off_t kTiB = off_t{1} << 40;
constexpr int kSmallFiles = 100;

constexpr char kLoss[] = ": Not hashed: ";

// How it says that a file is lost, before and with how the worker ended.
std::string LossOf(absl::string_view file) {
  return absl::StrCat("checksum: ", file, kLoss, "the worker ");
}
auto IsKillOf(const std::string& file) {
  return AllOf(StartsWith(LossOf(file)), HasSubstr("killed by SIGKILL"));
}

std::vector<std::string> LinesOf(absl::string_view text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// Each test runs the program on the folder "r", which has `kSmallFiles` small
// files and those long ones that the test makes.
class ChecksumDeathTest : public ::testing::TestWithParam<const char*> {
 protected:
  ChecksumDeathTest() {
    // What the program leaves behind becomes a child of the test.
    EXPECT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    for (int i = 0; i < kSmallFiles; ++i) {
      tree_.MakeFile(absl::StrCat("r/small", i), std::string(i, 'x'));
    }
    small_files_ = Sha256sumOutput({"r"}, {tree_.path()});
  }

  std::string MakeLongFile(absl::string_view name) {
    tree_.MakeSparseFile(name, kTiB);
    return tree_.PathOf(name);
  }

  ProgramRun Start(int processes) {
    return ProgramRun(
        ChecksumCommand({absl::StrCat("--start_method=", GetParam()),
                         absl::StrCat("--processes=", processes), "r"}),
        {tree_.path(), [] {
           setsid();
           // That check has a process too, which a test could kill.
           setenv("LSAN_OPTIONS", "detect_leaks=0", 1);
         }});
  }

  // The output for the small files.
  std::string small_files_;
  TestTree tree_;
};

INSTANTIATE_TEST_SUITE_P(Each, ChecksumDeathTest,
                         ::testing::Values("forkserver", "fork", "spawn"),
                         [](const auto& info) { return info.param; });

TEST_P(ChecksumDeathTest, AKilledWorkerCostsTheFileThatItWorkedOn) {
  for (const int processes : {1, 2}) {
    const std::string path = MakeLongFile("r/small5_long");
    ProgramRun run = Start(processes);
    const std::optional<pid_t> worker = AwaitReaderOf(path, run.pid());
    ASSERT_TRUE(worker.has_value());
    kill(*worker, SIGKILL);

    const ProgramResult result = run.Wait();
    EXPECT_EQ(result.out, small_files_);
    EXPECT_THAT(LinesOf(result.err), ElementsAre(IsKillOf("r/small5_long")));
    EXPECT_THAT(result.status, ExitedWith(1));
  }
}

TEST_P(ChecksumDeathTest, EachFileThatKillsItsWorkerIsGivenUp) {
  std::set<std::string> names;
  for (int i = 0; i < 12; ++i) {
    const std::string name = absl::StrCat("r/small", i, "_long");
    MakeLongFile(name);
    names.insert(name);
  }
  std::vector<::testing::Matcher<std::string>> losses;
  for (const std::string& name : names) losses.push_back(IsKillOf(name));

  ProgramRun run = Start(/*processes=*/2);
  // In any order: what a worker leaves may wait at another one.
  while (!names.empty() && IsRunning(run.pid())) {
    std::erase_if(names, [&](const std::string& name) {
      const auto workers = ReadersOf(tree_.PathOf(name), run.pid());
      for (const pid_t worker : workers) kill(worker, SIGKILL);
      return !workers.empty();
    });
  }
  const ProgramResult result = run.Wait();
  EXPECT_EQ(result.out, small_files_);
  EXPECT_THAT(LinesOf(result.err), UnorderedElementsAreArray(losses));
  EXPECT_THAT(result.status, ExitedWith(1));
}

// Under forkserver, all includes the server; how a child of it ended, if it is
// one, is then known to nobody.
TEST_P(ChecksumDeathTest, GoesOnWhenAllItsProcessesAreKilledAtOnce) {
  const std::string first = MakeLongFile("r/small1_long");
  const std::string second = MakeLongFile("r/small2_long");
  ProgramRun run = Start(/*processes=*/2);
  ASSERT_TRUE(AwaitReaderOf(first, run.pid()).has_value());
  ASSERT_TRUE(AwaitReaderOf(second, run.pid()).has_value());
  for (const pid_t pid : DescendantsOf(run.pid())) kill(pid, SIGKILL);

  const ProgramResult result = run.Wait();
  EXPECT_EQ(result.out, small_files_);
  EXPECT_THAT(LinesOf(result.err),
              ElementsAre(StartsWith(LossOf("r/small1_long")),
                          StartsWith(LossOf("r/small2_long"))));
  EXPECT_THAT(result.status, ExitedWith(1));
}

TEST_P(ChecksumDeathTest, EndsEvenIfNoProcessIsLeftAlive) {
  MakeLongFile("r/small5_long");
  ProgramRun run = Start(/*processes=*/4);
  while (IsRunning(run.pid())) {
    for (const pid_t pid : DescendantsOf(run.pid())) kill(pid, SIGKILL);
  }
  const ProgramResult result = run.Wait();
  EXPECT_THAT(result.status, ExitedWith(1));
  // Each file is accounted for, by its digest or by its name.
  EXPECT_THAT(LinesOf(small_files_), IsSupersetOf(LinesOf(result.out)));
  size_t files = LinesOf(result.out).size();
  for (const std::string& line : LinesOf(result.err)) {
    if (absl::StrContains(line, kLoss)) ++files;
  }
  // Unless it could not begin.
  if (files > 0 ||
      !absl::StrContains(result.err, "before they have run anything")) {
    EXPECT_EQ(files, kSmallFiles + 1) << result.err;
  }
}

// Ends the program while two of its workers are busy and two are not.
class ChecksumEndTest : public ChecksumDeathTest {
 protected:
  void ExpectThatNothingIsLeftAfter(int signal, bool to_all) {
    const std::string first = MakeLongFile("r/small1_long");
    const std::string second = MakeLongFile("r/small2_long");
    ProgramRun run = Start(/*processes=*/4);
    ASSERT_TRUE(AwaitReaderOf(first, run.pid()).has_value());
    ASSERT_TRUE(AwaitReaderOf(second, run.pid()).has_value());
    // As Ctrl-C does, to all of the process group that setsid() has made.
    ASSERT_EQ(kill(to_all ? -run.pid() : run.pid(), signal), 0);

    const ProgramResult result = run.Wait();
    EXPECT_THAT(result.status, WasKilledBy(signal));
    EXPECT_THAT(result.err, IsEmpty());
    EXPECT_THAT(LeftBehind(), IsEmpty());
  }

 private:
  // Reaps the orphans as they end. Returns those that do not.
  static std::vector<pid_t> LeftBehind() {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (waitpid(-1, nullptr, WNOHANG) >= 0 && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    std::vector<pid_t> left = DescendantsOf(getpid());
    for (const pid_t pid : left) kill(pid, SIGKILL);
    return left;
  }
};

INSTANTIATE_TEST_SUITE_P(Each, ChecksumEndTest,
                         ::testing::Values("forkserver", "fork", "spawn",
                                           "thread"),
                         [](const auto& info) { return info.param; });

TEST_P(ChecksumEndTest, NothingIsLeftWhenItIsKilled) {
  ExpectThatNothingIsLeftAfter(SIGKILL, /*to_all=*/false);
}

TEST_P(ChecksumEndTest, NothingIsLeftWhenItIsTerminated) {
  ExpectThatNothingIsLeftAfter(SIGTERM, /*to_all=*/false);
}

TEST_P(ChecksumEndTest, NothingIsLeftAfterCtrlC) {
  ExpectThatNothingIsLeftAfter(SIGINT, /*to_all=*/true);
}

}  // namespace
}  // namespace examples
