#include "mp/process/fork_server_preload.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ForkServer;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

// What the preload leaves in memory.
std::string& Loaded() {
  static std::string& loaded = *new std::string("nothing");
  return loaded;
}

void Load(const Report& report, const std::string& what) {
  Loaded() = absl::StrCat(what, " by ", getpid());
  Say(report, absl::StrCat("load ", what, ". "));
}

class ForkServerPreloadTest : public ::testing::Test {
 protected:
  void SetUp() override { ForkServer::Get().Stop(); }
  void TearDown() override {
    ForkServer::Get().Stop();
    EXPECT_THAT(ForkServer::Get().SetPreload(nullptr, PreloadErrors::kWarn),
                IsOk());
  }

  // Returns what a process finds in memory.
  static std::string LoadedInChild() {
    Listener listener;
    Process process(
        {.context = StartMethod::kForkServer},
        [](const Report& report) { Say(report, Loaded()); }, listener.report());
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(process.Join(kLong));
    return listener.Hear();
  }

  static std::string LoadedBy(pid_t server) {
    return absl::StrCat("the model by ", server);
  }
};

TEST_F(ForkServerPreloadTest, RunsOnceInTheServerBeforeItServes) {
  Listener listener;
  ASSERT_THAT(SetForkServerPreload(Load, listener.report(), "the model"),
              IsOk());
  const std::string first = LoadedInChild();
  EXPECT_EQ(first, LoadedBy(ForkServer::Get().pid().value_or(0)));
  EXPECT_EQ(LoadedInChild(), first);
  EXPECT_EQ(Loaded(), "nothing");
  ForkServer::Get().Stop();
  TearDown();  // lets go of the report
  EXPECT_EQ(listener.Hear(), "load the model. ");
}

TEST_F(ForkServerPreloadTest, RunsAgainInTheServersSuccessor) {
  Listener listener;
  ASSERT_THAT(SetForkServerPreload(Load, listener.report(), "the model"),
              IsOk());
  LoadedInChild();
  const pid_t killed = ForkServer::Get().pid().value_or(0);
  ASSERT_GT(killed, 0);
  ASSERT_EQ(kill(killed, SIGKILL), 0);
  EXPECT_NE(LoadedInChild(), LoadedBy(killed));
  EXPECT_NE(LoadedInChild(), "nothing");
}

TEST_F(ForkServerPreloadTest, HasToComeBeforeTheServer) {
  LoadedInChild();
  EXPECT_THAT(SetForkServerPreload([] {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("runs already")));
}

TEST_F(ForkServerPreloadTest, FailureIsIgnoredToldOrAnErrorOfStart) {
  const auto fail = [] { return absl::NotFoundError("no model"); };
  ASSERT_THAT(SetForkServerPreload(PreloadErrors::kIgnore, fail), IsOk());
  EXPECT_EQ(LoadedInChild(), "nothing");

  ForkServer::Get().Stop();
  ASSERT_THAT(SetForkServerPreload(PreloadErrors::kWarn, fail), IsOk());
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(LoadedInChild(), "nothing");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("preload"), HasSubstr("no model")));

  ForkServer::Get().Stop();
  ASSERT_THAT(SetForkServerPreload(PreloadErrors::kFail, fail), IsOk());
  Process process({.context = StartMethod::kForkServer}, [] {});
  EXPECT_THAT(process.Start(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("preload"), HasSubstr("no model"))));
}

TEST_F(ForkServerPreloadTest, ExceptionIsAFailure) {
  ASSERT_THAT(SetForkServerPreload(PreloadErrors::kFail, [] { throw 42; }),
              IsOk());
  Process process({.context = StartMethod::kForkServer}, [] {});
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("uncaught int")));
}

// A process that has given up its rights starts no others that have them.
TEST(ForkServerCredentialsTest, ServerIsReplacedWhenTheCallersRightsChange) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can change its user";
  Process process({.context = StartMethod::kFork}, [] {
    const auto user_of_child = [] {
      Process child({.context = StartMethod::kForkServer},
                    [] { Exit(geteuid() == 0 ? 1 : 2); });
      MP_CHECK_OK(child.Start());
      MP_CHECK_OK(child.Join(kLong));
      return child.exitcode().value_or(0);
    };
    if (user_of_child() != 1) Exit(10);
    if (setresuid(65534, 65534, 65534) != 0) Exit(11);
    Exit(user_of_child() == 2 ? 30 : 12);
  });
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  if (process.exitcode() == 11) GTEST_SKIP() << "there is no other user here";
  EXPECT_EQ(process.exitcode().value_or(0), 30);
}

TEST(ForkServerCredentialsTest, LimitsAreTheCallersAtStart) {
  const auto files = [] {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    Exit(static_cast<int>(limit.rlim_cur % 256));
  };
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  for (const rlim_t soft : {before.rlim_cur, rlim_t{201}, before.rlim_cur}) {
    const rlimit limit = {soft, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    Process process({.context = StartMethod::kForkServer}, files);
    ASSERT_THAT(process.Start(), IsOk());
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_EQ(process.exitcode().value_or(-1), static_cast<int>(soft % 256));
  }
}

}  // namespace
}  // namespace mp
