#include "mp/process/internal/end_by_signal.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/live_children.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

// Processes on a terminal are in //mp/process:signal_test.
namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::LeakCheck;
using ::mp::testing::Marker;
using ::mp::testing::RunInChild;
using ::mp::testing::WasKilledBy;
using ::testing::Not;

// Much longer than a test may take.
constexpr absl::Duration kNever = absl::Hours(1);

bool IsDefault(int signal) {
  struct sigaction action;
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

// Starts a process that waits for SIGTERM, signals `told`, and stays.
pid_t StartListener(Marker& told, bool dies_with_parent = true) {
  static Marker* marker;
  marker = &told;
  Marker ready = *Marker::Create();
  const pid_t pid = fork();
  if (pid == 0) {
    if (dies_with_parent) prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(300);  // in case nothing else ends it
    signal(SIGTERM, [](int) { marker->Signal().IgnoreError(); });
    ready.Signal().IgnoreError();
    while (true) pause();
  }
  MP_CHECK_OK(ready.Await());
  return pid;
}

// Lists one, until the process ends.
void List(pid_t pid, bool daemon) {
  new LiveChild(pid, OpenPidfd(pid)->Release(), daemon);
}

// What the terminal would send; a process may send it to itself only (kernel
// kernel/signal.c, do_rt_sigqueueinfo()).
void SendAsTerminal(int signal) {
  siginfo_t info = {};
  info.si_signo = signal;
  info.si_code = SI_KERNEL;
  syscall(SYS_rt_sigqueueinfo, getpid(), signal, &info);
}

class EndBySignalTest : public ::testing::Test {
 private:
  LeakCheck leak_check_;

 protected:
  Marker told_ = *Marker::Create();
};

TEST_F(EndBySignalTest, TakesOnlySignalsThatNobodyHandles) {
  Child child = RunInChild([] {
    signal(SIGINT, [](int) {});
    signal(SIGHUP, SIG_IGN);
    EndBySignalAfterChildren();
    EXPECT_FALSE(IsDefault(SIGTERM));
    raise(SIGINT);
    raise(SIGHUP);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(EndBySignalTest, LeavesThemAloneIfToldSo) {
  Child child = RunInChild([] {
    LeaveSignalsAlone();
    EndBySignalAfterChildren();
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
      EXPECT_TRUE(IsDefault(signal));
    }
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(EndBySignalTest, EndsByTheSignalThoughItIsBlocked) {
  Child child = RunInChild([] {
    EndBySignalAfterChildren();
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    raise(SIGTERM);
    sigdelset(&all, SIGTERM);
    sigsuspend(&all);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGTERM));
}

TEST_F(EndBySignalTest, TerminatesDaemonsAndKillsThemInTheEnd) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Child child = RunInChild([&] {
    SetEndPatience({.in_all = absl::Milliseconds(300)});
    List(StartListener(told_, /*dies_with_parent=*/false), /*daemon=*/true);
    EndBySignalAfterChildren();
    raise(SIGTERM);
    return absl::OkStatus();
  });
  EXPECT_THAT(told_.Await(), IsOk());
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGTERM));
  // The daemon had ended before, and has become the test's.
  int status = 0;
  EXPECT_GT(waitpid(-1, &status, WNOHANG), 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_F(EndBySignalTest, LeavesOthersAlone) {
  Child child = RunInChild([&] {
    SetEndPatience({.after_sender = absl::ZeroDuration(), .in_all = kNever});
    List(StartListener(told_), /*daemon=*/false);
    EndBySignalAfterChildren();
    raise(SIGTERM);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGTERM));
  EXPECT_THAT(told_.Await(absl::ZeroDuration()), Not(IsOk()));
}

TEST_F(EndBySignalTest, DoesNotWaitForOneThatHasLeftTheJob) {
  Child child = RunInChild([&] {
    SetEndPatience({.after_terminal = kNever, .in_all = kNever});
    const pid_t listener = StartListener(told_);
    setpgid(listener, listener);
    List(listener, /*daemon=*/false);
    EndBySignalAfterChildren();
    SendAsTerminal(SIGINT);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGINT));
  EXPECT_THAT(told_.Await(absl::ZeroDuration()), Not(IsOk()));
}

TEST_F(EndBySignalTest, ForkedChildLeavesItsParentsChildrenAlone) {
  Child child = RunInChild([&] {
    List(StartListener(told_), /*daemon=*/true);
    EndBySignalAfterChildren();
    Child forked = RunInChild([] {
      raise(SIGTERM);
      return absl::OkStatus();
    });
    EXPECT_THAT(forked.Wait(), WasKilledBy(SIGTERM));
    _exit(::testing::Test::HasFailure() ? 1 : 0);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_THAT(told_.Await(absl::ZeroDuration()), Not(IsOk()));
}

TEST_F(EndBySignalTest, OtherThreadsStandStillMeanwhile) {
  Child child = RunInChild([&] {
    SetEndPatience({.in_all = absl::Seconds(1)});
    List(StartListener(told_), /*daemon=*/true);
    EndBySignalAfterChildren();
    StandStillIfEnding();  // which it is not
    std::thread([&] {
      MP_CHECK_OK(told_.Await());
      StandStillIfEnding();
      _exit(9);
    }).detach();
    raise(SIGTERM);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGTERM));
}

// The rest as process 1 of a PID namespace.
constexpr int kNotPermitted = 77;

Child RunAsProcessOne(absl::FunctionRef<void()> body) {
  return RunInChild([&] {
    if (unshare(CLONE_NEWPID) != 0 &&
        unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
      _exit(kNotPermitted);
    }
    Child one = RunInChild([&] {
      body();
      return absl::OkStatus();
    });
    _exit(one.Wait().code);
    return absl::OkStatus();
  });
}

TEST_F(EndBySignalTest, ProcessOnePassesItOnAndExits) {
  Child child = RunAsProcessOne([&] {
    SetEndPatience({.after_sender = kNever, .in_all = absl::Milliseconds(300)});
    List(StartListener(told_), /*daemon=*/false);
    EndBySignalAfterChildren();
    raise(SIGTERM);
  });
  const testing::ExitStatus status = child.Wait();
  if (status.code == kNotPermitted) {
    GTEST_SKIP() << "PID namespaces are not permitted here";
  }
  EXPECT_THAT(status, ExitedWith(128 + SIGTERM));
  EXPECT_THAT(told_.Await(), IsOk());
}

}  // namespace
}  // namespace mp::internal
