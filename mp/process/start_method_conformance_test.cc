// What CPython's test suite asks of contexts and start methods; see
// docs/conformance.md.

#include <pthread.h>
#include <signal.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/exit.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::ExitCodeOf;
using ::mp::internal::ForkServer;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StartMethodConformanceTest : public StartMethodTest {
 protected:
  ~StartMethodConformanceTest() override { ResetStartMethod(); }

  static std::string name() { return std::string(StartMethodName(GetParam())); }
};
MP_INSTANTIATE_TEST_SUITE(StartMethodConformanceTest, AllStartMethods);

void SayStartMethods(const Report& report) {
  Say(report, absl::StrCat(StartMethodName(*CurrentProcess().started_by), " ",
                           GetStartMethod()));
}

// TestStartMethod.test_context
TEST_P(StartMethodConformanceTest, ContextHasItsNameAndItsChildrenKnowIt) {
  const auto context = GetContext(name());
  ASSERT_THAT(context, IsOk());
  EXPECT_EQ(context->start_method(), GetParam());
  Listener listener;
  Process process({.context = *context}, SayStartMethods, listener.report());
  EXPECT_EQ(process.start_method(), GetParam());
  EXPECT_EQ(ExitCodeOf(process), 0);
  EXPECT_EQ(listener.Hear(), absl::StrCat(name(), " ", name()));
}

// TestStartMethod.test_spawn_dont_set_context
TEST_P(StartMethodConformanceTest, ContextThatIsGivenDoesNotFixTheDefault) {
  ASSERT_EQ(GetStartMethod(/*allow_none=*/true), "");
  EXPECT_EQ(Run([] {}), 0);
  EXPECT_EQ(GetStartMethod(/*allow_none=*/true), "");
}

// TestStartMethod.test_set_get
TEST_P(StartMethodConformanceTest, WhatIsSetIsGotAndUsed) {
  ASSERT_THAT(SetStartMethod(name()), IsOk());
  EXPECT_EQ(GetStartMethod(), name());
  EXPECT_EQ(GetStartMethod(/*allow_none=*/true), name());
  Listener listener;
  Process process(SayStartMethods, listener.report());
  EXPECT_EQ(process.start_method(), GetParam());
  EXPECT_EQ(ExitCodeOf(process), 0);
  EXPECT_EQ(listener.Hear(), absl::StrCat(name(), " ", name()));

  EXPECT_THAT(SetStartMethod("spawn"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("\"spawn\""), HasSubstr(name()))));
  EXPECT_EQ(GetStartMethod(), name());
  EXPECT_THAT(SetStartMethod("fork", /*force=*/true), IsOk());
  EXPECT_EQ(GetStartMethod(), "fork");
}

// The choice is made of the context at Start(), as in CPython.
TEST_P(StartMethodConformanceTest, DefaultIsLookedUpAtStart) {
  Process process([] {});
  ASSERT_THAT(SetStartMethod(name()), IsOk());
  EXPECT_EQ(ExitCodeOf(process), 0);
  ASSERT_THAT(SetStartMethod("spawn", /*force=*/true), IsOk());
  EXPECT_EQ(process.start_method(), GetParam());
}

// TestStartMethod.test_nested_startmethod
TEST_P(StartMethodConformanceTest, StartMethodsNest) {
  for (const std::string& inner : GetAllStartMethods()) {
    Listener listener;
    EXPECT_EQ(Run(
                  [](const std::string& inner, const Report& report) {
                    Process process({.context = GetContext(inner).value()},
                                    SayStartMethods, report);
                    if (ExitCodeOf(process) != 0) Exit(1);
                  },
                  inner, listener.report()),
              0);
    EXPECT_EQ(listener.Hear(), absl::StrCat(inner, " ", inner));
  }
}

TEST(StartMethodsTest, UnknownNameIsRefusedWithThoseThatThereAre) {
  const auto refused =
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("\"vfork\""), HasSubstr("forkserver, fork")));
  EXPECT_THAT(GetContext("vfork"), refused);
  EXPECT_THAT(SetStartMethod("vfork"), refused);
  EXPECT_THAT(SetStartMethod("vfork", /*force=*/true), refused);
  EXPECT_EQ(GetStartMethod(/*allow_none=*/true), "");
}

// TestStartMethod.test_get_all_start_methods
TEST(StartMethodsTest, DefaultIsTheFirstOfAllAndNotFork) {
  EXPECT_THAT(GetAllStartMethods(),
              ElementsAre("forkserver", "fork", "spawn", "thread"));
  EXPECT_EQ(GetStartMethod(), "forkserver");
  EXPECT_EQ(Context().start_method(), StartMethod::kForkServer);
  EXPECT_EQ(GetStartMethod(/*allow_none=*/true), "");
}

// TestResourceTracker.test_resource_tracker_blocked_signals
TEST_P(StartMethodConformanceTest, StartKeepsTheCallersSignalMask) {
  ForkServer::Get().Stop();  // is to be launched, too
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    sigaddset(&blocked, signal);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  const int code = Run([] {});
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(code, 0);
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    EXPECT_EQ(sigismember(&after, signal), sigismember(&blocked, signal))
        << signal;
  }
}

}  // namespace
}  // namespace mp
