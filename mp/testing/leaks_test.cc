#include "mp/testing/leaks.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Fd OpenNull() { return Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// Waits until the child is a zombie, and leaves it one.
void AwaitZombie(pid_t pid) {
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
}

TEST(LeaksTest, NothingLeaksWhenNothingHappens) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST(LeaksTest, NamesTheOpenDescriptorUntilItIsClosed) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  Fd null = OpenNull();
  EXPECT_THAT(LeaksSince(before), ElementsAre(HasSubstr(": /dev/null")));
  null.Close();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST(LeaksTest, DescriptorOpenOnSomethingElseCounts) {
  Fd fd = OpenNull();
  const ResourceSnapshot before = ResourceSnapshot::Take();
  const Fd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(dup2(zero.get(), fd.get()), fd.get());
  EXPECT_THAT(LeaksSince(before),
              ElementsAre(HasSubstr(": /dev/zero"), HasSubstr(": /dev/zero")));
}

TEST(LeaksTest, ClosingWhatWasOpenIsNoLeak) {
  Fd null = OpenNull();
  const ResourceSnapshot before = ResourceSnapshot::Take();
  null.Close();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST(LeaksTest, NamesTheThreadUntilItEnds) {
  Marker stop = *Marker::Create();
  const ResourceSnapshot before = ResourceSnapshot::Take();
  std::thread thread([&] { stop.Await().IgnoreError(); });
  EXPECT_THAT(LeaksSince(before), ElementsAre(HasSubstr("thread ")));
  stop.Signal().IgnoreError();
  thread.join();
  EXPECT_THAT(SettledLeaksSince(before), IsEmpty());
}

TEST(LeaksTest, NamesTheChildUntilItIsReaped) {
  Marker stop = *Marker::Create();
  const ResourceSnapshot before = ResourceSnapshot::Take();
  Child child = RunInChild([&] { return stop.Await(); });
  EXPECT_THAT(LeaksSince(before), ElementsAre(HasSubstr("child ")));

  ASSERT_TRUE(stop.Signal().ok());
  AwaitZombie(child.pid());
  EXPECT_THAT(LeaksSince(before),
              ElementsAre(AllOf(HasSubstr("child "), HasSubstr("zombie"))));
  child.Wait();
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

TEST(LeaksTest, FindsTheChildrenOfOtherThreads) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  std::thread([&] {
    const Child child = RunInChild([] {
      pause();
      return absl::OkStatus();
    });
    EXPECT_EQ(ResourceSnapshot::Take().children().count(child.pid()), 1u);
  }).join();
  EXPECT_THAT(SettledLeaksSince(before), IsEmpty());
}

TEST(LeaksTest, SettledLeaksWaitForTheEnd) {
  const auto looked = std::make_shared<Marker>(*Marker::Create());
  const ResourceSnapshot before = ResourceSnapshot::Take();
  // The thread ends at some time after this, while SettledLeaksSince() looks.
  std::thread([looked] { looked->Await().IgnoreError(); }).detach();
  EXPECT_THAT(LeaksSince(before), ElementsAre(HasSubstr("thread ")));
  ASSERT_TRUE(looked->Signal().ok());
  EXPECT_THAT(SettledLeaksSince(before), IsEmpty());
}

TEST(LeaksTest, SettledLeaksGiveUpInTheEnd) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  const Fd null = OpenNull();
  EXPECT_THAT(SettledLeaksSince(before, absl::Milliseconds(20)),
              ElementsAre(HasSubstr(": /dev/null")));
}

TEST(LeakCheckTest, FailsTheTestThatLeaks) {
  Fd leak;
  EXPECT_NONFATAL_FAILURE(
      {
        const LeakCheck check(absl::ZeroDuration());
        leak = OpenNull();
      },
      ": /dev/null");
}

TEST(LeakCheckTest, PassesTheTestThatDoesNot) {
  const LeakCheck check;
  const Fd null = OpenNull();
}

}  // namespace
}  // namespace mp::testing
