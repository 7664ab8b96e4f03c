// What CPython's test suite asks of the end of a process, and of what it
// inherits for its life; see docs/conformance.md.

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/log.h"
#include "mp/process/process.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ExitConformanceTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ExitConformanceTest, AllStartMethods);

class RealExitConformanceTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(RealExitConformanceTest, RealStartMethods);

// Whom to tell at exit, when nothing else is left.
Report& AtExit() {
  static Report& report = *new Report;
  return report;
}

// _TestAtExit.test_atexit
TEST_P(RealExitConformanceTest, ExitHandlersOfTheChildRun) {
  for (const bool leave_by_exit : {false, true}) {
    Listener listener;
    EXPECT_EQ(Run(
                  [](const Report& report, bool leave_by_exit) {
                    AtExit() = report;
                    std::atexit([] { Say(AtExit(), "first"); });
                    std::atexit([] { Say(AtExit(), "last "); });
                    if (leave_by_exit) Exit(9);
                  },
                  listener.report(), leave_by_exit),
              leave_by_exit ? 9 : 0);
    EXPECT_EQ(listener.Hear(), "last first");
  }
}

// Keeps finalizers to the exit.
std::vector<Finalizer>& Kept() {
  static auto& kept = *new std::vector<Finalizer>;
  return kept;
}

void HaveFinalizers(const Report& report) {
  const auto saying = [report](std::string word) {
    return [report, word] { Say(report, absl::StrCat(word, " ")); };
  };
  { const Finalizer dies(saying("a")); }
  Finalizer asked(saying("b"), 4);
  asked.Run();
  asked.Run();
  Kept().emplace_back(saying("c"));  // has no priority
  Kept().emplace_back(saying("d10"), 10);
  Kept().emplace_back(saying("d01"), 1);
  Kept().emplace_back(saying("d02"), 1);
  Kept().emplace_back(saying("d03"), 1);
  Kept().emplace_back(saying("e"), -10);
  Kept().emplace_back(saying("cancelled"), 5);
  Kept().back().Cancel();
  Kept().emplace_back([] { throw 42; }, 2);
}

// _TestFinalize.test_finalize
TEST_P(RealExitConformanceTest, FinalizersOfTheChildRunInOrder) {
  Listener listener;
  EXPECT_EQ(Run(HaveFinalizers, listener.report()), 0);
  EXPECT_EQ(listener.Hear(), "a b d10 d03 d02 d01 e ");
}

// util._exit_function: priority 0 and above, then the children, then the rest.
void HaveFinalizersAndAChild(StartMethod method, const Report& report,
                             const Report& release_reader,
                             const Report& release_writer) {
  Process child(
      {.context = method},
      [](const Report& report, const Report& release) {
        AwaitRelease(release);
        Say(report, "child ");
      },
      report, release_reader);
  MP_CHECK_OK(child.Start());
  Kept().emplace_back([report] { Say(report, "last"); }, -1);
  Kept().emplace_back(
      [report, release_writer] {
        Say(report, "first ");
        Say(release_writer, "!");  // lets the child go on
      },
      0);
}

TEST_P(RealExitConformanceTest, ChildrenAreAwaitedBetweenFinalizers) {
  auto release = testing::Marker::Create();
  ASSERT_THAT(release, IsOk());
  Listener listener;
  EXPECT_EQ(Run(HaveFinalizersAndAChild, GetParam(), listener.report(),
                Copy(release->reader()), Copy(release->writer())),
            0);
  EXPECT_EQ(listener.Hear(), "first child last");
}

// A finalizer of the parent's is not the child's.
TEST_P(RealExitConformanceTest, FinalizersOfTheParentDoNotRunInTheChild) {
  Listener listener;
  {
    const Report copy = Copy(*listener.report().fd);
    const Finalizer of_parent([copy] { Say(copy, "parent"); }, 3);
    EXPECT_EQ(Run([](const Report& report) { Say(report, "child "); },
                  listener.report()),
              0);
  }
  EXPECT_EQ(listener.Hear(), "child parent");
}

class LogSettingsOfTest {
 public:
  explicit LogSettingsOfTest(const LogSettings& settings) {
    GetLogger().Apply(settings);
  }
  ~LogSettingsOfTest() { GetLogger().Apply(before_); }

 private:
  const LogSettings before_ = GetLogger().settings();
};

// _TestLogging.test_level
TEST_P(ExitConformanceTest, ChildHasTheLogSettingsOfItsParent) {
  Run([] {});  // a fork server starts before they change
  const LogSettingsOfTest settings({.level = LogLevel{17}, .to_stderr = false});
  Listener listener;
  EXPECT_EQ(Run(
                [](const Report& report) {
                  const LogSettings mine = GetLogger().settings();
                  Say(report, absl::StrCat(static_cast<int>(mine.level), " ",
                                           mine.to_stderr));
                },
                listener.report()),
            0);
  EXPECT_EQ(listener.Hear(), "17 0");
}

// _TestLogging.test_enable_logging
TEST_P(ExitConformanceTest, ChildLogsToStderrUnderItsName) {
  const LogSettingsOfTest settings(
      {.level = LogLevel::kInfo, .to_stderr = true});
  ProcessOptions named = options();
  named.name = "logging";
  Process process(std::move(named), [] {
    GetLogger().Log(LogLevel::kDebug, "not this");
    GetLogger().Log(LogLevel::kInfo, "this");
  });
  ::testing::internal::CaptureStderr();
  const int code = internal::ExitCodeOf(process);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(code, 0);
  EXPECT_THAT(text, AllOf(HasSubstr("[INFO/logging] this\n"),
                          Not(HasSubstr("not this"))));
}

}  // namespace
}  // namespace mp
