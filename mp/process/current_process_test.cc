#include "mp/process/current_process.h"

#include <signal.h>
#include <unistd.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/report.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AwaitRelease;
using ::mp::internal::Copy;
using ::mp::internal::kLong;
using ::mp::internal::Listener;
using ::mp::internal::Report;
using ::mp::internal::Say;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

class CurrentProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(CurrentProcessTest, AllStartMethods);

class ParentProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(ParentProcessTest, RealStartMethods);

TEST(MainProcessTest, IsCalledSoAndHasNoParent) {
  EXPECT_EQ(CurrentProcess().name, "MainProcess");
  EXPECT_EQ(CurrentProcess().pid, getpid());
  EXPECT_FALSE(CurrentProcess().daemon);
  EXPECT_EQ(CurrentProcess().started_by, std::nullopt);
  EXPECT_FALSE(ParentProcess::Get().has_value());
}

TEST_P(CurrentProcessTest, ProcessKnowsWhatItIs) {
  Listener listener;
  ProcessOptions named = options();
  named.name = "reader";
  named.daemon = true;
  Process process(
      std::move(named),
      [](const Report& report) {
        const ProcessInfo me = CurrentProcess();
        Say(report, absl::StrCat(me.name, " ", me.pid == getpid(), me.daemon,
                                 " ", StartMethodName(*me.started_by)));
      },
      listener.report());
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(listener.Hear(),
            absl::StrCat("reader 11 ", StartMethodName(GetParam())));
}

TEST_P(CurrentProcessTest, ChildIsActiveFromStartToEnd) {
  auto release = testing::Marker::Create();
  ASSERT_THAT(release, IsOk());
  ProcessOptions named = options();
  named.name = "active";
  Process process(std::move(named), AwaitRelease, Copy(release->reader()));
  EXPECT_THAT(ActiveChildren(), IsEmpty());
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(ActiveChildren(),
              ElementsAre(Field(&ProcessInfo::name, "active")));
  EXPECT_EQ(ActiveChildren()[0].pid, process.pid());
  ASSERT_THAT(release->Signal(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(ActiveChildren(), IsEmpty());
}

TEST_P(ParentProcessTest, ChildKnowsItsParent) {
  Listener listener;
  Process process(
      options(),
      [](const Report& report) {
        const std::optional<ParentProcess> parent = ParentProcess::Get();
        Say(report, absl::StrCat(parent->name(), " ", parent->pid(), " ",
                                 parent->IsAlive()));
      },
      listener.report());
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(listener.Hear(), absl::StrCat("MainProcess ", getpid(), " 1"));
}

// Starts a process and waits for the end that it is going to have.
void StartAndWait(StartMethod method, bool daemon, void (*function)(Report),
                  const Report& report) {
  Process process({.context = method, .daemon = daemon}, function, report);
  MP_CHECK_OK(process.Start());
  while (true) pause();
}

// Runs `function` in a grandchild, kills the child between once the grandchild
// has said "ready", and returns what else it says until it has ended.
std::string HearAfterParentsDeath(StartMethod method, bool daemon,
                                  void (*function)(Report)) {
  Listener listener;
  Process process({.context = method}, StartAndWait, method, daemon, function,
                  listener.report());
  EXPECT_THAT(process.Start(), IsOk());
  const std::string ready = listener.Hear(5);
  EXPECT_EQ(ready, "ready");
  EXPECT_THAT(process.Kill(), IsOk());
  EXPECT_THAT(process.Join(kLong), IsOk());
  return listener.Hear();
}

void WaitForParentsDeath(Report report) {
  Say(report, "ready");
  const absl::Status joined = ParentProcess::Get()->Join(kLong);
  const bool is_alive = ParentProcess::Get()->IsAlive();
  Say(report, absl::StrCat(joined.ok() ? "joined" : "?", is_alive ? "?" : ""));
}

TEST_P(ParentProcessTest, DeathIsSeenByAProcessThatLivesOn) {
  EXPECT_EQ(HearAfterParentsDeath(GetParam(), false, WaitForParentsDeath),
            "joined");
}

void Spin(Report report) {
  signal(SIGTERM, SIG_IGN);
  Say(report, "ready");
  for (volatile int i = 0;;) i = i + 1;
}

TEST_P(ParentProcessTest, DeathEndsADaemonWhateverItDoes) {
  EXPECT_EQ(HearAfterParentsDeath(GetParam(), true, Spin), "");
}

TEST_P(ParentProcessTest, DeathOfOneParentEndsItsOwnDaemonsOnly) {
  Listener listener;
  Process daemon({.context = GetParam(), .daemon = true}, Spin,
                 listener.report());
  ASSERT_THAT(daemon.Start(), IsOk());
  EXPECT_EQ(listener.Hear(5), "ready");
  EXPECT_EQ(HearAfterParentsDeath(GetParam(), true, Spin), "");
  EXPECT_TRUE(daemon.IsAlive());
  EXPECT_THAT(daemon.Kill(), IsOk());
  EXPECT_THAT(daemon.Join(kLong), IsOk());
}

}  // namespace
}  // namespace mp
