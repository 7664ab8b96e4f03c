// The gate at which a child of the fork server waits for its starter:
// CrashSlotLease::LetBegin() and StarterLetsBegin().

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;

constexpr int kBegan = 3;
constexpr int kGaveUp = 4;

class StarterGateTest : public ::testing::Test {
 protected:
  // Starts a child that waits for `starter`.
  Child StartWaiting(const Fd& starter) {
    CrashSlotTicket ticket = *lease_.MakeTicket();
    return RunInChild([&]() -> absl::Status {
      CrashArena::Get().Forget();
      MP_RETURN_IF_ERROR(AttachCrashSlot(std::move(ticket)));
      _exit(StarterLetsBegin(starter) ? kBegan : kGaveUp);
    });
  }

  CrashSlotLease lease_ = *CrashArena::Get().Take();
};

TEST_F(StarterGateTest, ChildBeginsWhenItIsLetAndNotBefore) {
  Child child = StartWaiting(*OpenPidfd(getpid()));
  absl::SleepFor(absl::Milliseconds(120));
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &info,
                   WEXITED | WNOHANG | WNOWAIT),
            0);
  EXPECT_EQ(info.si_pid, 0) << "it has not waited";
  lease_.LetBegin(child.pid());
  EXPECT_THAT(child.Wait(), ExitedWith(kBegan));
}

// The fork server died on it, and the starter has had another one made.
TEST_F(StarterGateTest, ChildGivesUpForAnotherInItsPlace) {
  Child child = StartWaiting(*OpenPidfd(getpid()));
  lease_.LetBegin(getpid());
  EXPECT_THAT(child.Wait(), ExitedWith(kGaveUp));
}

TEST_F(StarterGateTest, ChildGivesUpWhenItsStarterDies) {
  Child starter = RunInChild([]() -> absl::Status {
    while (true) pause();
  });
  Child child = StartWaiting(*OpenPidfd(starter.pid()));
  starter.Kill(SIGKILL);
  starter.Wait();
  EXPECT_THAT(child.Wait(), ExitedWith(kGaveUp));
}

}  // namespace
}  // namespace mp::internal
