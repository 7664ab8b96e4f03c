#include "mp/process/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/process/internal/identity.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

// Reads what is written to stderr for as long as it lives.
class Stderr {
 public:
  Stderr() : before_(dup(STDERR_FILENO)) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader_ = Fd(ends[0]);
    const Fd writer(ends[1]);
    dup2(writer.get(), STDERR_FILENO);
  }
  ~Stderr() { dup2(before_.get(), STDERR_FILENO); }

  // Returns what was written, and ends.
  std::string Read() {
    dup2(before_.get(), STDERR_FILENO);
    return ReadToEnd(reader_.get()).value_or("(unreadable)");
  }

 private:
  const Fd before_;
  Fd reader_;
};

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { GetLogger().Apply(LogSettings()); }
};

TEST_F(LogTest, LevelsHaveNames) {
  EXPECT_EQ(LogLevelName(LogLevel::kSubDebug), "SUBDEBUG");
  EXPECT_EQ(LogLevelName(LogLevel::kDebug), "DEBUG");
  EXPECT_EQ(LogLevelName(LogLevel::kInfo), "INFO");
  EXPECT_EQ(LogLevelName(LogLevel::kSubWarning), "SUBWARNING");
  EXPECT_EQ(LogLevelName(LogLevel::kWarning), "WARNING");
  EXPECT_EQ(LogLevelName(LogLevel::kError), "ERROR");
  EXPECT_EQ(LogLevelName(LogLevel{7}), "Level 7");
}

TEST_F(LogTest, WithoutAHandlerOnlyWarningsAndWorseAreWritten) {
  Stderr err;
  GetLogger().set_level(LogLevel::kSubDebug);
  GetLogger().Log(LogLevel::kInfo, "information");
  GetLogger().Log(LogLevel::kSubWarning, "less than a warning");
  GetLogger().Log(LogLevel::kWarning, "a warning");
  GetLogger().Log(LogLevel::kError, "an ", "error ", 7);
  EXPECT_EQ(err.Read(),
            "[WARNING/MainProcess] a warning\n"
            "[ERROR/MainProcess] an error 7\n");
}

TEST_F(LogTest, LevelIsHonoured) {
  Stderr err;
  LogToStderr(LogLevel::kInfo);
  EXPECT_EQ(GetLogger().level(), LogLevel::kInfo);
  EXPECT_TRUE(GetLogger().IsEnabled(LogLevel::kInfo));
  EXPECT_FALSE(GetLogger().IsEnabled(LogLevel::kDebug));
  GetLogger().Log(LogLevel::kDebug, "not this");
  GetLogger().Log(LogLevel::kInfo, "this");
  GetLogger().set_level(LogLevel::kError);
  GetLogger().Log(LogLevel::kWarning, "nor this");
  EXPECT_EQ(err.Read(), "[INFO/MainProcess] this\n");
}

TEST_F(LogTest, SaysItOnceHoweverOftenItWasAskedTo) {
  Stderr err;
  LogToStderr(LogLevel::kInfo);
  LogToStderr();
  EXPECT_EQ(GetLogger().level(), LogLevel::kInfo);
  GetLogger().Log(LogLevel::kWarning, "once");
  EXPECT_EQ(err.Read(), "[WARNING/MainProcess] once\n");
}

TEST_F(LogTest, HandlersTakeThePlaceOfTheLastResort) {
  Stderr err;
  std::vector<LogRecord> seen;
  const absl::Time before = absl::Now();
  const int first = GetLogger().AddHandler(
      [&](const LogRecord& record) { seen.push_back(record); });
  const int second = GetLogger().AddHandler(
      [&](const LogRecord& record) { seen.push_back(record); });
  GetLogger().Log(LogLevel::kError, "twice");
  GetLogger().RemoveHandler(second);
  GetLogger().RemoveHandler(second);
  GetLogger().Log(LogLevel::kError, "once");
  GetLogger().RemoveHandler(first);
  ASSERT_THAT(seen, SizeIs(3));
  EXPECT_EQ(seen[0].level, LogLevel::kError);
  EXPECT_EQ(seen[0].process_name, "MainProcess");
  EXPECT_EQ(seen[0].message, "twice");
  EXPECT_GE(seen[0].time, before);
  EXPECT_EQ(seen[2].message, "once");
  EXPECT_EQ(err.Read(), "");
}

TEST_F(LogTest, SettingsCanBeTakenAndApplied) {
  EXPECT_EQ(GetLogger().settings(), LogSettings());
  LogToStderr(LogLevel::kDebug);
  const LogSettings settings = GetLogger().settings();
  EXPECT_EQ(settings, (LogSettings{LogLevel::kDebug, true}));
  GetLogger().Apply(LogSettings());
  EXPECT_EQ(GetLogger().settings(), LogSettings());
  GetLogger().Apply(settings);
  EXPECT_EQ(GetLogger().settings(), settings);
}

TEST_F(LogTest, NamesTheProcessOrTheThreadInItsPlace) {
  Stderr err;
  std::thread([] {
    internal::Identity identity;
    identity.name = "Process-3:1";
    internal::BecomeThread(&identity);
    GetLogger().Log(LogLevel::kError, "here");
  }).join();
  EXPECT_EQ(err.Read(), "[ERROR/Process-3:1] here\n");
}

TEST_F(LogTest, LinesOfSeveralThreadsStayWhole) {
  Stderr err;
  LogToStderr(LogLevel::kInfo);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int j = 0; j < 100; ++j) {
        GetLogger().Log(LogLevel::kInfo, "a line of ", 5, " words");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = err.Read();
  const std::vector<std::string> lines =
      absl::StrSplit(text, '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, SizeIs(400));
  EXPECT_THAT(lines, Each("[INFO/MainProcess] a line of 5 words"));
}

TEST_F(LogTest, ForkedChildLogsThoughOtherThreadsWereAtIt) {
  const int number = GetLogger().AddHandler([](const LogRecord&) {});
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) {
      GetLogger().RemoveHandler(GetLogger().AddHandler([](const auto&) {}));
      GetLogger().Log(LogLevel::kError, "busy");
    }
  });
  for (int i = 0; i < 50; ++i) {
    Child child = RunInChild([]() -> absl::Status {
      static int heard = 0;
      GetLogger().AddHandler([](const LogRecord&) { ++heard; });
      GetLogger().Log(LogLevel::kError, "in the child");
      return heard == 1 ? absl::OkStatus() : absl::InternalError("not heard");
    });
    ASSERT_THAT(child.Wait(), ExitedWith(0));
  }
  done = true;
  busy.join();
  GetLogger().RemoveHandler(number);
}

}  // namespace
}  // namespace mp
