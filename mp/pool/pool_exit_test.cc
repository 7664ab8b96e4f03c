// Programs that end while they have a pool; see testdata/exit_program.cc.

#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/subprocess.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::testing::Combine;
using ::testing::IsEmpty;
using ::testing::Values;

constexpr char kProgram[] = "mp/pool/testdata/exit_program";
constexpr int kStatus = 7;

// Start method, where the pool is, what it does, how the program ends.
using Way = std::tuple<const char*, const char*, const char*, const char*>;

std::string NameOf(const ::testing::TestParamInfo<Way>& info) {
  const auto [method, pool, work, end] = info.param;
  return absl::StrReplaceAll(
      absl::StrCat(method, "_", pool, "_", work, "_", end),
      {{"__exit", "_UnderscoreExit"}});
}

// Whether a process has ended within a time in which all end that do.
bool HasEnded(pid_t pid) {
  const absl::Time deadline = absl::Now() + kLong;
  while (kill(pid, 0) == 0 || errno != ESRCH) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

// What a program says, but for the warning that fork with threads is not safe.
std::vector<std::string> ComplaintsIn(const std::string& err) {
  std::vector<std::string> lines = absl::StrSplit(err, '\n', absl::SkipEmpty());
  std::erase_if(lines, [](const std::string& line) {
    return absl::StrContains(line, "a forked child");
  });
  return lines;
}

class PoolExitTest : public ::testing::TestWithParam<Way> {
 protected:
  LeakCheck leak_check_{kLong};
};

TEST_P(PoolExitTest, NothingIsLeftAndNothingHangs) {
  const auto [method, pool, work, end] = GetParam();
  const auto ended =
      Subprocess::Run({kProgram, method, pool, work, end},
                      {.capture_output = true, .timeout = kLong});
  ASSERT_THAT(ended, IsOk());
  EXPECT_EQ(ended->returncode, end == std::string("kill") ? -SIGKILL : kStatus)
      << ended->err;
  EXPECT_THAT(ComplaintsIn(ended->err), IsEmpty());
  int workers = 0;
  for (const auto& pid : absl::StrSplit(ended->out, ' ', absl::SkipEmpty())) {
    EXPECT_TRUE(HasEnded(std::atoi(std::string(pid).c_str()))) << pid;
    ++workers;
  }
  EXPECT_EQ(workers, 2);
}

INSTANTIATE_TEST_SUITE_P(Places, PoolExitTest,
                         Combine(Values("forkserver", "fork", "spawn"),
                                 Values("local", "static", "global", "leaked"),
                                 Values("nothing", "running"),
                                 Values("return", "exit")),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(Loads, PoolExitTest,
                         Combine(Values("fork", "forkserver"),
                                 Values("static", "leaked"),
                                 Values("full", "mapping"),
                                 Values("return", "exit")),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(Ends, PoolExitTest,
                         Combine(Values("forkserver", "fork", "spawn"),
                                 Values("leaked", "static"),
                                 Values("nothing", "running"),
                                 Values("_exit", "kill", "thread")),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(Callbacks, PoolExitTest,
                         Combine(Values("forkserver", "fork", "spawn"),
                                 Values("static", "leaked"),
                                 Values("nothing", "running"),
                                 Values("callback")),
                         NameOf);

INSTANTIATE_TEST_SUITE_P(Forks, PoolExitTest,
                         Combine(Values("forkserver", "fork", "spawn"),
                                 Values("local", "static", "leaked"),
                                 Values("nothing"), Values("fork")),
                         NameOf);

// What a thread runs cannot be ended: only idle ones end.
INSTANTIATE_TEST_SUITE_P(Threads, PoolExitTest,
                         Combine(Values("thread"),
                                 Values("local", "static", "global", "leaked"),
                                 Values("nothing"), Values("return", "exit")),
                         NameOf);

}  // namespace
}  // namespace mp
