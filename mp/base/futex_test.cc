#include "mp/base/futex.h"

#include <sys/mman.h>

#include <new>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"

namespace mp {
namespace {

using testing::Child;
using testing::ExitedWith;
using testing::RunInChild;

const Deadline kNever(absl::InfiniteDuration());

class FutexTest : public ::testing::Test {
 protected:
  FutexTest()
      : word_(*new (mmap(nullptr, sizeof(FutexWord), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0)) FutexWord(0)) {}
  ~FutexTest() override { munmap(&word_, sizeof(FutexWord)); }

  Child RunSleeper() {
    return RunInChild([this] {
      EXPECT_EQ(FutexWait(word_, 0, kNever), FutexResult::kWoken);
      return absl::OkStatus();
    });
  }

  // Wakes one sleeper, waiting for it to sleep.
  void WakeOne() {
    int woken;
    while ((woken = FutexWake(word_, 1)) == 0) std::this_thread::yield();
    EXPECT_EQ(woken, 1);
  }

  testing::LeakCheck leak_check_;
  FutexWord& word_;  // shared with the children
};

TEST_F(FutexTest, WakesAnotherProcess) {
  Child sleeper = RunSleeper();
  WakeOne();
  EXPECT_THAT(sleeper.Wait(), ExitedWith(0));
}

TEST_F(FutexTest, WakesNoMoreThanAsked) {
  Child first = RunSleeper();
  Child second = RunSleeper();
  WakeOne();
  WakeOne();
  EXPECT_THAT(first.Wait(), ExitedWith(0));
  EXPECT_THAT(second.Wait(), ExitedWith(0));
}

TEST_F(FutexTest, WakesAllWhenAskedForMany) {
  std::vector<Child> sleepers;
  for (int i = 0; i < 3; ++i) sleepers.push_back(RunSleeper());
  for (int woken = 0; woken < 3; std::this_thread::yield()) {
    woken += FutexWake(word_, 1000);
  }
  for (Child& sleeper : sleepers) EXPECT_THAT(sleeper.Wait(), ExitedWith(0));
}

TEST_F(FutexTest, WakingNobodyWakesNone) { EXPECT_EQ(FutexWake(word_, 1), 0); }

TEST_F(FutexTest, ChangedValueDoesNotSleep) {
  word_ = 5;
  EXPECT_EQ(FutexWait(word_, 4, kNever), FutexResult::kChanged);
}

TEST_F(FutexTest, TimeoutIsLongEnough) {
  const absl::Time start = absl::Now();
  EXPECT_EQ(FutexWait(word_, 0, Deadline(absl::Milliseconds(30))),
            FutexResult::kTimedOut);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

TEST_F(FutexTest, PastDeadlineOnlyLooks) {
  EXPECT_EQ(FutexWait(word_, 0, Deadline(absl::ZeroDuration())),
            FutexResult::kTimedOut);
  EXPECT_EQ(FutexWait(word_, 1, Deadline(absl::ZeroDuration())),
            FutexResult::kChanged);
}

}  // namespace
}  // namespace mp
