#include "mp/base/pidfd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using testing::Child;
using ::testing::Eq;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::Marker;
using testing::RunInChild;
using testing::StatusIs;

constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;

// These children are reaped here, so Child, which does so too, is not for them.
class PidfdTest : public ::testing::Test {
 protected:
  static Fd Fork(absl::FunctionRef<void()> body) {
    const pid_t pid = fork();
    if (pid == 0) {
      body();
      _exit(0);
    }
    return *OpenPidfd(pid);
  }

  static void SleepForEver() {
    while (true) pause();
  }

  // Waits for the end of the child and returns what ReapChild() says.
  static std::optional<int> AwaitAndReap(const Fd& pidfd) {
    const Deadline deadline(absl::Seconds(30));
    EXPECT_THAT(WaitForFd(pidfd.get(), POLLIN, deadline), IsOkAndHolds(true));
    const absl::StatusOr<std::optional<int>> code = ReapChild(pidfd);
    EXPECT_THAT(code, IsOk());
    return code.value_or(std::nullopt);
  }

  testing::LeakCheck leak_check_;
};

TEST_F(PidfdTest, IsReadableOnceTheProcessEnds) {
  Marker stop = *Marker::Create();
  const Fd pidfd = Fork([&] { stop.Await().IgnoreError(); });
  EXPECT_THAT(WaitForFd(pidfd.get(), POLLIN, Deadline(absl::ZeroDuration())),
              IsOkAndHolds(false));
  EXPECT_THAT(ReapChild(pidfd), IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_THAT(stop.Signal(), IsOk());
  EXPECT_EQ(AwaitAndReap(pidfd), 0);
}

TEST_F(PidfdTest, ReapReturnsTheExitCode) {
  EXPECT_EQ(AwaitAndReap(Fork([] { _exit(0); })), 0);
  EXPECT_EQ(AwaitAndReap(Fork([] { _exit(9); })), 9);
  EXPECT_EQ(AwaitAndReap(Fork([] { _exit(255); })), 255);
}

TEST_F(PidfdTest, ReapReturnsTheSignalAsNegative) {
  EXPECT_EQ(AwaitAndReap(Fork([] { raise(SIGKILL); })), -SIGKILL);
  EXPECT_EQ(AwaitAndReap(Fork([] { abort(); })), -SIGABRT);
}

TEST_F(PidfdTest, ReapReturnsWhatTheChildUsed) {
  constexpr size_t kBytes = 32 << 20;
  const Fd pidfd = Fork([] {
    auto* const memory = static_cast<volatile char*>(malloc(kBytes));
    for (size_t i = 0; i < kBytes; i += 1024) memory[i] = 1;
    while (clock() < CLOCKS_PER_SEC / 50) continue;
    _exit(3);
  });
  const Deadline deadline(absl::Seconds(30));
  ASSERT_THAT(WaitForFd(pidfd.get(), POLLIN, deadline), IsOkAndHolds(true));
  const absl::StatusOr<std::optional<ReapedChild>> child =
      ReapChildWithUsage(pidfd);
  ASSERT_THAT(child, IsOk());
  ASSERT_TRUE(child->has_value());
  EXPECT_EQ((*child)->exit_code, 3);
  EXPECT_FALSE((*child)->core_dumped);
  const rusage& usage = (*child)->usage;
  EXPECT_GE(usage.ru_maxrss, static_cast<long>(kBytes / 1024));
  EXPECT_GT(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec +
                usage.ru_utime.tv_sec + usage.ru_stime.tv_sec,
            0);
}

TEST_F(PidfdTest, ReapTellsWhetherACoreWasDumped) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_CORE, &limit), 0);
  for (const rlim_t bytes : {rlim_t{0}, limit.rlim_max}) {
    const Fd pidfd = Fork([&] {
      limit.rlim_cur = bytes;
      setrlimit(RLIMIT_CORE, &limit);
      // Where the core may lie about.
      if (chdir(::testing::TempDir().c_str()) == 0) abort();
    });
    siginfo_t info;
    ASSERT_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
    const auto child = ReapChildWithUsage(pidfd);
    ASSERT_THAT(child, IsOk());
    EXPECT_EQ((*child)->exit_code, -SIGABRT);
    // It is up to the system and to sanitizers whether there is one.
    EXPECT_EQ((*child)->core_dumped, info.si_code == CLD_DUMPED);
  }
}

TEST_F(PidfdTest, SendSignalReachesTheProcess) {
  const Fd pidfd = Fork(SleepForEver);
  EXPECT_THAT(SendSignal(pidfd, SIGTERM), IsOk());
  EXPECT_EQ(AwaitAndReap(pidfd), -SIGTERM);
}

TEST_F(PidfdTest, StoppedChildStillRuns) {
  const Fd pidfd = Fork(SleepForEver);
  siginfo_t info;
  EXPECT_THAT(SendSignal(pidfd, SIGSTOP), IsOk());
  EXPECT_EQ(waitid(P_ALL, 0, &info, WSTOPPED | WNOWAIT), 0);
  EXPECT_THAT(ReapChild(pidfd), IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_THAT(SendSignal(pidfd, SIGKILL), IsOk());
  EXPECT_EQ(AwaitAndReap(pidfd), -SIGKILL);
}

TEST_F(PidfdTest, ReapedChildIsNotFound) {
  const Fd pidfd = Fork([] {});
  EXPECT_EQ(AwaitAndReap(pidfd), 0);
  EXPECT_THAT(ReapChild(pidfd), StatusIs(kNotFound));
  EXPECT_THAT(SendSignal(pidfd, SIGTERM), StatusIs(kNotFound));
}

TEST_F(PidfdTest, ChildReapedBySomebodyElseIsNotFound) {
  Child child = RunInChild([] { return absl::OkStatus(); });
  const Fd pidfd = *OpenPidfd(child.pid());
  child.Wait();
  EXPECT_THAT(ReapChild(pidfd), StatusIs(kNotFound));
}

TEST_F(PidfdTest, ZombieCanStillBeSignalled) {
  const Fd pidfd = Fork([] {});
  const Deadline deadline(absl::Seconds(30));
  ASSERT_THAT(WaitForFd(pidfd.get(), POLLIN, deadline), IsOkAndHolds(true));
  EXPECT_THAT(SendSignal(pidfd, SIGTERM), IsOk());
  EXPECT_EQ(AwaitAndReap(pidfd), 0);
}

TEST_F(PidfdTest, ProcessThatIsNoChildCannotBeReaped) {
  const absl::StatusOr<Fd> self = OpenPidfd(getpid());
  ASSERT_THAT(self, IsOk());
  EXPECT_THAT(ReapChild(*self), StatusIs(kNotFound));
}

TEST_F(PidfdTest, OpenOfNoProcessIsNotFound) {
  constexpr pid_t kAbovePidMax = (1 << 22) + 1;  // man 5 proc, pid_max
  EXPECT_THAT(OpenPidfd(kAbovePidMax), StatusIs(kNotFound));
  EXPECT_THAT(OpenPidfd(0), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PidfdTest, IsCloseOnExec) {
  EXPECT_EQ(fcntl(OpenPidfd(getpid())->get(), F_GETFD), FD_CLOEXEC);
}

}  // namespace
}  // namespace mp
