// The program `restricted`, with a program that tells what it may do.

#include <stdio.h>
#include <sys/wait.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mp::testing {
namespace {

using ::testing::HasSubstr;

struct Result {
  int status = 0;
  std::string output;

  bool is_skipped() const { return absl::StartsWith(output, "SKIPPED: "); }
};

Result RunRestricted(const std::string& arguments) {
  // Bazel's report is this test's own.
  FILE* const pipe =
      popen(absl::StrCat("unset XML_OUTPUT_FILE; exec mp/testing/restricted ",
                         arguments, " 2>&1")
                .c_str(),
            "r");
  Result result;
  char buffer[1000];
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) {
    result.output += buffer;
  }
  result.status = WEXITSTATUS(pclose(pipe));
  return result;
}

constexpr char kProbe[] = " -- mp/testing/restricted_probe ";

TEST(RestrictedTest, NewSystemCallsAreNotThere) {
  const Result result =
      RunRestricted(absl::StrCat("--no-new-syscalls", kProbe));
  if (result.is_skipped()) GTEST_SKIP() << result.output;
  EXPECT_THAT(result.output, HasSubstr("system call 440 1, 441 0, of x32 0\n"));
}

TEST(RestrictedTest, UnprivilegedIsNotRoot) {
  const Result result = RunRestricted(absl::StrCat("--unprivileged", kProbe));
  if (result.is_skipped()) GTEST_SKIP() << result.output;
  EXPECT_THAT(result.output, HasSubstr("root 0\n"));
}

TEST(RestrictedTest, Process1HasItsOwnProcAndTheOrphans) {
  const Result result = RunRestricted(absl::StrCat("--pid1", kProbe));
  if (result.is_skipped()) GTEST_SKIP() << result.output;
  EXPECT_THAT(result.output,
              HasSubstr("pid 1, in /proc 1, of orphans' parent 1\n"));
}

TEST(RestrictedTest, PassesArgumentsAndTheExitStatusOn) {
  for (const char* restriction :
       {"--no-new-syscalls", "--unprivileged", "--pid1"}) {
    const Result result =
        RunRestricted(absl::StrCat(restriction, kProbe, "5 6"));
    if (result.is_skipped()) continue;
    EXPECT_EQ(result.status, 5) << restriction;
    EXPECT_THAT(result.output, HasSubstr("arguments 3\n")) << restriction;
  }
}

TEST(RestrictedTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(RunRestricted("").status, 2);
  EXPECT_EQ(RunRestricted("--free -- /bin/true").status, 2);
  EXPECT_EQ(RunRestricted("--pid1 /bin/true").status, 2);
  EXPECT_EQ(RunRestricted("--no-new-syscalls -- no/such/program").status, 127);
}

}  // namespace
}  // namespace mp::testing
