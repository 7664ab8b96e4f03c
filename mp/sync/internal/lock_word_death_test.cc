#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;

MATCHER_P(IsAbandonedBy, pid, "is kAborted because of that pid") {
  return ::testing::ExplainMatchResult(
      StatusIs(absl::StatusCode::kAborted,
               HasSubstr(absl::StrCat("pid ", pid, " ended"))),
      arg, result_listener);
}

class LockWordDeathTest : public SharedStateTest<LockWordState> {
 protected:
  absl::Status Take() { return lock_.Acquire(kLongWait); }
  absl::Status TakeToRepair() { return lock_.AcquireAbandoned(); }

  // Starts a child that waits for the lock and exits with the code of the
  // answer.
  Child StartWaiter() {
    const int64_t waiting = count();
    Child child = RunInChild([&, this]() -> absl::Status {
      MP_RETURN_IF_ERROR(members().Self().status());
      count() += 1;
      const absl::Status answer = Take();
      _exit(static_cast<int>(answer.code()));
    });
    AwaitCondition([&] {
      return count() > waiting &&
             (state().word.load() & LockWord::kWaiters) != 0;
    });
    return child;
  }

  static constexpr int kGotIt = static_cast<int>(absl::StatusCode::kOk);
  static constexpr int kToldIt = static_cast<int>(absl::StatusCode::kAborted);

  LockWord lock_{state(), members(), "Lock"};
};

TEST_F(LockWordDeathTest, EachAcquireSaysThatTheHolderDied) {
  const pid_t dead = RunAndKill([&] { return Take(); });
  EXPECT_THAT(lock_.ToString(), HasSubstr(absl::StrCat("pid ", dead)));
  EXPECT_THAT(lock_.Acquire(absl::ZeroDuration()), IsAbandonedBy(dead));
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(dead));
  EXPECT_TRUE(lock_.IsTaken());
  EXPECT_FALSE(lock_.IsOwn());
  EXPECT_THAT(lock_.Release(), IsAbandonedBy(dead));
}

TEST_F(LockWordDeathTest, ReleaseSaysItFirst) {
  const pid_t dead = RunAndKill([&] { return Take(); });
  EXPECT_THAT(lock_.Release(), IsAbandonedBy(dead));
}

TEST_F(LockWordDeathTest, ThoseThatWaitAreTold) {
  Child holder = StartAndStay([&] { return Take(); });
  std::vector<Child> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(StartWaiter());
  holder.Kill(SIGKILL);
  for (Child& waiter : waiters) EXPECT_THAT(waiter.Wait(), ExitedWith(kToldIt));
}

// Signals that come more often than a waiter looks for the holder.
TEST_F(LockWordDeathTest, OneThatIsAlwaysInterruptedIsTold) {
  Child holder = StartAndStay([&] { return Take(); });
  signal(SIGALRM, [](int) {});
  Child waiter = RunInChild([&]() -> absl::Status {
    itimerval often = {.it_interval = {0, 5000}, .it_value = {0, 5000}};
    setitimer(ITIMER_REAL, &often, nullptr);
    // Without an end, at which it would look in any case.
    _exit(static_cast<int>(lock_.Acquire(absl::InfiniteDuration()).code()));
  });
  // It has looked once.
  AwaitCondition(
      [&] { return (state().word.load() & LockWord::kHandover) != 0; });
  holder.Kill(SIGKILL);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kToldIt));
  signal(SIGALRM, SIG_DFL);
}

TEST_F(LockWordDeathTest, IsAsNewAfterRepair) {
  RunAndKill([&] { return Take(); });
  ASSERT_THAT(TakeToRepair(), IsOk());
  EXPECT_TRUE(lock_.IsOwn());
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(state().word.load(), 0u);
  EXPECT_THAT(RunInChild([&] { return Take(); }).Wait(), ExitedWith(0));
}

TEST_F(LockWordDeathTest, AcquireWaitsForTheRepair) {
  RunAndKill([&] { return Take(); });
  ASSERT_THAT(TakeToRepair(), IsOk());
  Child waiter = StartWaiter();
  EXPECT_THAT(lock_.Acquire(absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("in repair by pid")));
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(kGotIt));
}

TEST_F(LockWordDeathTest, AReleaseWithoutRepairAbandonsItAgain) {
  const pid_t dead = RunAndKill([&] { return Take(); });
  ASSERT_THAT(TakeToRepair(), IsOk());
  Child waiter = StartWaiter();
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(waiter.Wait(), ExitedWith(kToldIt));
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(dead));
  EXPECT_THAT(lock_.Release(), IsAbandonedBy(dead));
  ASSERT_THAT(TakeToRepair(), IsOk());
}

TEST_F(LockWordDeathTest, TheDeathOfARepairerAbandonsItAgain) {
  RunAndKill([&] { return Take(); });
  const pid_t second = RunAndKill([&] { return TakeToRepair(); });
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(second));
  ASSERT_THAT(TakeToRepair(), IsOk());
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  const pid_t third = RunAndKill([&] { return Take(); });
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(third));
}

TEST_F(LockWordDeathTest, RepairIsForTheAbandoned) {
  EXPECT_THAT(TakeToRepair(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("not abandoned")));
  EXPECT_THAT(lock_.MarkRepaired(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(Take(), IsOk());
  EXPECT_THAT(TakeToRepair(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(lock_.MarkRepaired(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(lock_.Release(), IsOk());
}

TEST_F(LockWordDeathTest, OneAtATimeRepairs) {
  RunAndKill([&] { return Take(); });
  Marker done = *Marker::Create();
  std::vector<Child> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(RunInChild([&, this]() -> absl::Status {
      const absl::Status taken = TakeToRepair();
      if (taken.ok()) count() += 1;
      MP_RETURN_IF_ERROR(done.Signal());
      while (true) pause();
    }));
  }
  for (const Child& child : children) {
    ASSERT_THAT(done.Await(), IsOk()) << child.pid();
  }
  EXPECT_EQ(count(), 1);
}

TEST_F(LockWordDeathTest, MayBeIgnored) {
  state().on_owner_death = OnOwnerDeath::kIgnore;
  RunAndKill([&] { return Take(); });
  EXPECT_THAT(lock_.Acquire(absl::ZeroDuration()), IsOk());
  EXPECT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(state().word.load(), 0u);

  Child holder = StartAndStay([&] { return Take(); });
  Child waiter = StartWaiter();
  holder.Kill(SIGKILL);
  EXPECT_THAT(waiter.Wait(), ExitedWith(kGotIt));
}

TEST_F(LockWordDeathTest, AStoppedHolderIsNotDead) {
  Child holder = StartAndStay([&] { return Take(); });
  holder.Kill(SIGSTOP);
  EXPECT_THAT(lock_.Acquire(absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(lock_.OwnerPid(), holder.pid());
}

TEST_F(LockWordDeathTest, ADeadWaiterHarmsNobody) {
  ASSERT_THAT(Take(), IsOk());
  std::vector<Child> doomed;
  for (int i = 0; i < 3; ++i) doomed.push_back(StartWaiter());
  Child waiter = StartWaiter();
  for (Child& child : doomed) child.Kill(SIGKILL);
  for (Child& child : doomed) child.Wait();
  ASSERT_THAT(lock_.Release(), IsOk());
  // It ends without releasing it.
  EXPECT_THAT(waiter.Wait(), ExitedWith(kGotIt));
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(waiter.pid()));
}

TEST_F(LockWordDeathTest, AHolderAndWaitersMayDieAtOnce) {
  Child holder = StartAndStay([&] { return Take(); });
  std::vector<Child> doomed;
  std::vector<Child> waiters;
  for (int i = 0; i < 3; ++i) {
    doomed.push_back(StartWaiter());
    waiters.push_back(StartWaiter());
  }
  holder.Kill(SIGKILL);
  for (Child& child : doomed) child.Kill(SIGKILL);
  for (Child& waiter : waiters) EXPECT_THAT(waiter.Wait(), ExitedWith(kToldIt));
}

TEST_F(LockWordDeathTest, OneThatExitsInOrderLeavesItAbandoned) {
  Child holder = RunInChild([&]() -> absl::Status {
    const absl::Status taken = Take();
    members().Leave();
    return taken;
  });
  EXPECT_THAT(holder.Wait(), ExitedWith(0));
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(holder.pid()));
}

TEST_F(LockWordDeathTest, OneThatRunsAnotherProgramLeavesItAbandoned) {
  Child holder = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(Take());
    execl("/bin/sleep", "sleep", "1000", nullptr);
    return absl::InternalError("no /bin/sleep");
  });
  AwaitCondition([&] { return lock_.IsTaken(); });
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(holder.pid()));
}

TEST_F(LockWordDeathTest, TheEndOfAThreadIsNoDeath) {
  std::thread([&] { EXPECT_THAT(Take(), IsOk()); }).join();
  EXPECT_THAT(
      RunInChild([&] { return lock_.Acquire(absl::Milliseconds(100)); }).Wait(),
      ExitedWith(1));
  EXPECT_TRUE(lock_.IsOwn());
  EXPECT_THAT(lock_.Release(), IsOk());
}

TEST_F(LockWordDeathTest, AHolderInAnotherPidNamespaceIsAliveUntilItDies) {
  Child middle = RunInChild([&]() -> absl::Status {
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) _exit(77);
    const pid_t pid = fork();  // process 1 there, which ends with this one
    if (pid == 0) {
      MP_CHECK_OK(Take());
      while (true) pause();
    }
    waitpid(pid, nullptr, 0);
    return absl::OkStatus();
  });
  while (!lock_.IsTaken()) {
    siginfo_t info = {};
    waitid(P_PID, middle.pid(), &info, WEXITED | WNOWAIT | WNOHANG);
    if (info.si_pid != 0) GTEST_SKIP() << "no pid namespaces here";
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_THAT(lock_.Acquire(absl::Milliseconds(150)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(lock_.OwnerPid(), 1);
  const std::string inside =
      absl::StrCat("/proc/", middle.pid(), "/task/", middle.pid(), "/children");
  FILE* const children = fopen(inside.c_str(), "r");
  ASSERT_NE(children, nullptr) << inside;
  int pid = 0;
  ASSERT_EQ(fscanf(children, "%d", &pid), 1);
  fclose(children);
  kill(pid, SIGKILL);
  EXPECT_THAT(lock_.Acquire(kLongWait), IsAbandonedBy(1));
}

}  // namespace
}  // namespace mp::internal
