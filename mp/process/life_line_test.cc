// Daemons whose life-line is hard to keep: each must end with its parent.

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::testing::IsOk;
using ::mp::testing::ResourceSnapshot;

// What a process does first; it may use one descriptor, the report.
using Act = void (*)(int report);

void Nothing(int) {}

void Check(bool ok) {
  if (!ok) _exit(99);
}

void SaySo(int report) { Check(write(report, "!", 1) == 1); }

void BeDaemon(const Fd& report, Act act) {
  act(report.get());
  SaySo(report.get());
  while (true) pause();
}

void BeParent(StartMethod method, const Fd& report, Act before, Act act) {
  before(report.get());
  absl::StatusOr<Fd> copy = report.Dup();
  MP_CHECK_OK(copy);
  Process daemon({.context = method, .daemon = true}, BeDaemon,
                 *std::move(copy), act);
  MP_CHECK_OK(daemon.Start());
  while (true) pause();
}

// Whatever is still there, so that a test that fails leaves nothing behind.
void KillOrphans(const ResourceSnapshot& before) {
  const ResourceSnapshot now = ResourceSnapshot::Take();
  for (const auto& [pid, name] : now.children()) {
    if (before.children().count(pid) == 0) kill(pid, SIGKILL);
  }
}

class LifeLineTest : public internal::StartMethodTest {
 public:
  // Runs a daemon below a parent, kills the parent and expects the daemon to
  // end too.
  static void ExpectDaemonEnds(StartMethod method, Act before_start,
                               Act in_daemon) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const ResourceSnapshot before = ResourceSnapshot::Take();
    auto report = testing::Marker::Create();
    ASSERT_THAT(report, IsOk());
    const Fd reader = *report->reader().Dup();
    Process parent({.context = method}, BeParent, method,
                   *report->writer().Dup(), before_start, in_daemon);
    ASSERT_THAT(parent.Start(), IsOk());
    { const testing::Marker closed = *std::move(report); }
    EXPECT_EQ(Hear(reader), "!") << "no daemon has come up";
    EXPECT_THAT(parent.Kill(), IsOk());
    EXPECT_THAT(parent.Join(kLong), IsOk());
    EXPECT_EQ(Hear(reader), "") << "the daemon lives on";
    KillOrphans(before);
  }

 private:
  // Returns a byte, nothing at the end, and a complaint if there is neither.
  static std::string Hear(const Fd& reader) {
    if (!*WaitForFd(reader.get(), POLLIN, Deadline(kLong))) return "timeout";
    char byte;
    const ssize_t size = read(reader.get(), &byte, 1);
    return size < 0 ? "error" : std::string(&byte, size);
  }
};

MP_INSTANTIATE_TEST_SUITE(LifeLineTest, RealStartMethods);

// Whether this is root, and not just that of a user namespace.
bool IsRoot() {
  std::ifstream map("/proc/self/uid_map");
  std::string here;
  std::string there;
  std::string count;
  map >> here >> there >> count;
  return geteuid() == 0 && count == "4294967295";
}

template <uid_t real, uid_t effective, uid_t saved>
void SetUids(int) {
  Check(setresuid(real, effective, saved) == 0);
}

constexpr uid_t kA = 61001;
constexpr uid_t kB = 61002;

TEST_P(LifeLineTest, HoldsADaemonThatTakesAnotherUid) {
  if (!IsRoot()) GTEST_SKIP() << "needs root, to change its uid";
  ExpectDaemonEnds(GetParam(), Nothing, SetUids<kA, kA, kA>);
}

// Neither the real nor the effective uid of before is left then.
TEST(LifeLineOfUidsTest, HoldsADaemonThatTakesItsSavedUid) {
  if (!IsRoot()) GTEST_SKIP() << "needs root, to set its uids";
  LifeLineTest::ExpectDaemonEnds(StartMethod::kFork, SetUids<kA, kA, kB>,
                                 SetUids<kB, kB, kB>);
}

// Becomes somebody who may still take any uid.
void KeepCapabilities(int report) {
  Check(prctl(PR_SET_KEEPCAPS, 1) == 0);
  SetUids<kA, kA, kA>(report);
}

void UseCapability(int report) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  Check(syscall(SYS_capget, &header, data) == 0);
  data[0].effective = data[0].permitted;
  Check(syscall(SYS_capset, &header, data) == 0);
  SetUids<kB, kB, kB>(report);
}

TEST(LifeLineOfUidsTest, HoldsADaemonThatMayTakeAnyUid) {
  if (kThreadSanitizer) {
    GTEST_SKIP() << "its runtime's thread has capabilities of its own, so that "
                    "the C library gives up";
  }
  if (!IsRoot()) GTEST_SKIP() << "needs root, to set its uids";
  LifeLineTest::ExpectDaemonEnds(StartMethod::kFork, KeepCapabilities,
                                 UseCapability);
}

// Has the pipe made by root, and then nobody who could open it again.
void StartADaemonAndSetUids(int report) {
  Process first({.context = StartMethod::kFork, .daemon = true},
                [] { pause(); });
  MP_CHECK_OK(first.Start());
  SetUids<kA, kA, kA>(report);
}

TEST(LifeLineOfUidsTest, HoldsADaemonThatMayNotOpenThePipeAgain) {
  if (!IsRoot()) GTEST_SKIP() << "needs root, to set its uids";
  LifeLineTest::ExpectDaemonEnds(StartMethod::kFork, StartADaemonAndSetUids,
                                 Nothing);
}

// What a careful program does, and a little more: others take their places.
void CloseAllBut(int report) {
  for (int fd = 0; fd < 100; ++fd) {
    if (fd != report) close(fd);
  }
  for (int i = 0; i < 50; ++i) Check(open("/proc/self/stat", O_RDONLY) >= 0);
}

TEST(LifeLineOfUidsTest, HoldsADaemonThatClosesAllAndTakesItsSavedUid) {
  if (!IsRoot()) GTEST_SKIP() << "needs root, to set its uids";
  LifeLineTest::ExpectDaemonEnds(StartMethod::kFork, SetUids<kA, kA, kB>,
                                 [](int report) {
                                   CloseAllBut(report);
                                   SetUids<kB, kB, kB>(report);
                                 });
}

// Only fork(2), as the others need a descriptor of ours.
TEST(LifeLineOfForkTest, HoldsADaemonOfAParentThatHasClosedAll) {
  LifeLineTest::ExpectDaemonEnds(StartMethod::kFork, CloseAllBut, Nothing);
}

TEST(LifeLineOfForkTest, IsMadeAnewAfterTheParentHasClosedIt) {
  LifeLineTest::ExpectDaemonEnds(
      StartMethod::kFork,
      [](int report) {
        Process first({.context = StartMethod::kFork, .daemon = true},
                      [] { pause(); });
        MP_CHECK_OK(first.Start());
        CloseAllBut(report);
      },
      Nothing);
}

char StateOf(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string stat;
  std::getline(file, stat);
  return stat[stat.rfind(')') + 2];
}

// Goes on in another thread when the first has ended.
void EndFirstThread(int report) {
  std::thread([report] {
    while (StateOf(getpid()) != 'Z') usleep(1000);
    SaySo(report);
    while (true) pause();
  }).detach();
  syscall(SYS_exit, 0);
}

TEST_P(LifeLineTest, HoldsADaemonWhoseFirstThreadHasEnded) {
  ExpectDaemonEnds(GetParam(), Nothing, EndFirstThread);
}

void BecomeStopped(int report) {
  SaySo(report);
  raise(SIGSTOP);
}

TEST_P(LifeLineTest, HoldsADaemonThatIsStopped) {
  ExpectDaemonEnds(GetParam(), Nothing, BecomeStopped);
}

// From now on, the next child is process 1 of a new PID namespace.
bool EnterPidNamespace() {
  return unshare(CLONE_NEWPID) == 0 ||
         unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0;
}

void EnterPidNamespaceOrDie(int) { Check(EnterPidNamespace()); }

TEST_P(LifeLineTest, HoldsADaemonThatIsProcess1) {
  if (GetParam() == StartMethod::kForkServer) {
    GTEST_SKIP() << "there it is the fork server that is process 1";
  }
  Process trial(ForkContext(), [] {
    return EnterPidNamespace() ? absl::OkStatus()
                               : absl::PermissionDeniedError("unshare");
  });
  ASSERT_THAT(trial.Start(), IsOk());
  ASSERT_THAT(trial.Join(), IsOk());
  if (trial.exitcode() != 0) GTEST_SKIP() << "may not make a PID namespace";
  ExpectDaemonEnds(GetParam(), EnterPidNamespaceOrDie,
                   [](int) { Check(getpid() == 1); });
}

}  // namespace
}  // namespace mp
