// Compares the real program with sha256sum on the files that a system has.

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "examples/internal/checksum_tool.h"
#include "examples/internal/program_run.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace examples {
namespace {

using ::mp::testing::ExitedWith;
using ::testing::IsEmpty;

constexpr char kFolder[] = "/usr/share/doc";
constexpr int kLeastFiles = 100;

const std::string& Expected() {
  static const std::string& expected =
      *new std::string(Sha256sumOutput({kFolder}));
  return expected;
}

// Not skipped, so that nobody takes it for a success.
TEST(ChecksumDocTest, ThereIsSomethingToCompare) {
  EXPECT_GE(std::count(Expected().begin(), Expected().end(), '\n'), kLeastFiles)
      << "NOT CHECKED: there is little or nothing in " << kFolder;
}

class ChecksumDocEverywhereTest
    : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

INSTANTIATE_TEST_SUITE_P(Each, ChecksumDocEverywhereTest,
                         ::testing::Combine(::testing::Values("forkserver",
                                                              "fork", "spawn",
                                                              "thread"),
                                            ::testing::Values(1, 2, 8)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_",
                                               std::get<1>(info.param));
                         });

TEST_P(ChecksumDocEverywhereTest, PrintsWhatSha256sumPrints) {
  const auto [start_method, processes] = GetParam();
  const ProgramResult result =
      ProgramRun(
          ChecksumCommand({absl::StrCat("--start_method=", start_method),
                           absl::StrCat("--processes=", processes), kFolder}))
          .Wait();
  EXPECT_TRUE(result.out == Expected()) << "the outputs differ";
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.status, ExitedWith(0));
}

}  // namespace
}  // namespace examples
