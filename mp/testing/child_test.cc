#include "mp/testing/child.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/testing/leaks.h"
#include "mp/testing/marker.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ChildTest : public ::testing::Test {
 protected:
  static absl::Status SleepForEver() {
    while (true) pause();
  }

  LeakCheck leak_check_;
};

TEST_F(ChildTest, RunsInAProcessOfItsOwn) {
  const pid_t parent = getpid();
  int changed = 0;
  Child child = RunInChild([&] {
    changed = 1;
    return getppid() == parent && getpid() != parent
               ? absl::OkStatus()
               : absl::InternalError("not a child");
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(changed, 0);
}

TEST_F(ChildTest, StatusThatIsNotOkIsExitCodeOne) {
  Child child = RunInChild([] { return absl::InternalError("as wanted"); });
  EXPECT_THAT(child.Wait(), ExitedWith(1));
}

TEST_F(ChildTest, FailedExpectationIsExitCodeOne) {
  Child child = RunInChild([] {
    EXPECT_EQ(1, 2) << "as wanted";
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(1));
}

TEST_F(ChildTest, ExceptionDoesNotRunTheTestTwice) {
  Child child = RunInChild([]() -> absl::Status { throw 1; });
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGABRT));
}

TEST_F(ChildTest, BufferedOutputIsWrittenOnceByEach) {
  Marker out = *Marker::Create();
  FILE* const file = fdopen(dup(out.writer().get()), "w");
  std::fputc('p', file);
  Child child = RunInChild([&] {
    std::fputc('c', file);
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  std::fclose(file);
  char bytes[8];
  ASSERT_EQ(read(out.reader().get(), bytes, sizeof(bytes)), 2);
  EXPECT_EQ(bytes[0], 'p');
  EXPECT_EQ(bytes[1], 'c');
}

TEST_F(ChildTest, WaitTellsCodesFromSignals) {
  EXPECT_THAT(RunInChild([]() -> absl::Status { _exit(9); }).Wait(),
              AllOf(ExitedWith(9), Not(WasKilledBy(9)), Not(ExitedWith(0))));
  EXPECT_THAT(RunInChild([] {
                raise(SIGKILL);
                return absl::OkStatus();
              }).Wait(),
              AllOf(WasKilledBy(SIGKILL), Not(ExitedWith(SIGKILL)),
                    Not(WasKilledBy(SIGTERM))));
}

TEST_F(ChildTest, WaitRepeatsItsResult) {
  Child child = RunInChild([]() -> absl::Status { _exit(3); });
  EXPECT_THAT(child.Wait(), ExitedWith(3));
  EXPECT_THAT(child.Wait(), ExitedWith(3));
  child.Kill(SIGKILL);  // Does nothing: the pid may be a stranger's.
}

TEST_F(ChildTest, KillReachesTheChild) {
  Child child = RunInChild(SleepForEver);
  child.Kill(SIGTERM);
  EXPECT_THAT(child.Wait(), WasKilledBy(SIGTERM));
}

TEST_F(ChildTest, DestructorKillsAndReaps) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  {
    const Child child = RunInChild(SleepForEver);
    ASSERT_THAT(LeaksSince(before), Not(IsEmpty()));
  }
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST_F(ChildTest, MovesWithItsProcess) {
  Child child = RunInChild(SleepForEver);
  const pid_t pid = child.pid();
  Child moved = std::move(child);
  Child assigned = RunInChild(SleepForEver);
  assigned = std::move(moved);
  EXPECT_EQ(assigned.pid(), pid);
  assigned.Kill(SIGTERM);
  EXPECT_THAT(assigned.Wait(), WasKilledBy(SIGTERM));
}

TEST(ExitStatusTest, PrintsWhatHappened) {
  EXPECT_EQ(::testing::PrintToString(ExitStatus{3}), "exited with 3");
  EXPECT_EQ(::testing::PrintToString(ExitStatus{-SIGKILL}),
            "was killed by signal 9 (Killed)");
}

}  // namespace
}  // namespace mp::testing
