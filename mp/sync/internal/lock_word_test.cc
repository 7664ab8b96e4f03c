#include "mp/sync/internal/lock_word.h"

#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Marker;
using testing::RunInChild;
using testing::Scaled;
using testing::StatusIs;

// Whether a process that does nothing else sleeps in a system call.
bool IsAsleep(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string word;
  while (file >> word && !absl::EndsWith(word, ")")) {
  }
  return file >> word && word == "S";
}

class LockWordTest : public SharedStateTest<LockWordState> {
 protected:
  uint32_t word() { return state().word.load(); }

  // Starts a child that waits for the lock and, when it has it, says so.
  Child StartWaiter() {
    Child child = RunInChild([&, this]() -> absl::Status {
      MP_RETURN_IF_ERROR(members().Self().status());
      MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
      MP_RETURN_IF_ERROR(got_it_.Signal());
      return lock_.Release();
    });
    AwaitCondition([&] { return (word() & LockWord::kWaiters) != 0; });
    return child;
  }

  // Starts a child that sleeps until the word is something else, or woken.
  Child StartSleeper() {
    const uint32_t seen = word();
    Child child = RunInChild([&, this]() -> absl::Status {
      FutexWait(state().word, seen, Deadline(kLongWait));
      return absl::OkStatus();
    });
    AwaitCondition([&] { return IsAsleep(child.pid()); });
    return child;
  }

  LockWord lock_{state(), members(), "Lock"};
  Marker got_it_ = *Marker::Create();
};

TEST_F(LockWordTest, IsHeldFromAcquireToRelease) {
  EXPECT_FALSE(lock_.IsTaken());
  EXPECT_FALSE(lock_.IsOwn());
  EXPECT_EQ(lock_.OwnerPid(), 0);
  EXPECT_EQ(lock_.ToString(), "Lock(free)");
  ASSERT_THAT(lock_.Acquire(absl::ZeroDuration()), IsOk());
  EXPECT_TRUE(lock_.IsTaken());
  EXPECT_TRUE(lock_.IsOwn());
  EXPECT_EQ(lock_.OwnerPid(), getpid());
  EXPECT_EQ(lock_.ToString(), absl::StrCat("Lock(held by pid ", getpid(), ")"));
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(word(), 0u);
}

TEST_F(LockWordTest, IsNotRecursive) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_THAT(lock_.Acquire(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr(absl::StrCat("held by pid ", getpid()))));
  EXPECT_THAT(lock_.Acquire(-absl::InfiniteDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(lock_.Release(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("nobody holds it")));
}

TEST_F(LockWordTest, WaitsForAllOfTheTimeout) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  for (const int milliseconds : {1, 30, 130}) {
    const absl::Duration timeout = absl::Milliseconds(milliseconds);
    const absl::Time begin = absl::Now();
    EXPECT_THAT(lock_.Acquire(timeout),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_GE(absl::Now() - begin, timeout - absl::Milliseconds(1));
  }
}

TEST_F(LockWordTest, ReleaseWakesOneThatWaits) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Child child = StartWaiter();
  ASSERT_THAT(lock_.Release(), IsOk());
  ASSERT_THAT(got_it_.Await(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(LockWordTest, EachOfManyWaitersGetsIt) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  std::vector<Child> children;
  for (int i = 0; i < 8; ++i) children.push_back(StartWaiter());
  ASSERT_THAT(lock_.Release(), IsOk());
  for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(LockWordTest, AnyProcessMayReleaseIt) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_THAT(RunInChild([&] { return lock_.Release(); }).Wait(),
              ExitedWith(0));
  EXPECT_FALSE(lock_.IsTaken());
  EXPECT_THAT(lock_.Release(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(LockWordTest, AForkedChildIsNotItsOwner) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    EXPECT_FALSE(lock_.IsOwn());
    EXPECT_THAT(lock_.Acquire(absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    return absl::OkStatus();
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_TRUE(lock_.IsOwn());
}

TEST_F(LockWordTest, OneProcessAtATimeHasIt) {
  const int rounds = Scaled(20'000, 200'000);
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(RunInChild([&, this]() -> absl::Status {
      for (int i = 0; i < rounds; ++i) {
        MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
        plain_count() = plain_count() + 1;
        MP_RETURN_IF_ERROR(lock_.Release());
      }
      return absl::OkStatus();
    }));
  }
  for (Child& child : children) EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_EQ(plain_count(), 4 * rounds);
  EXPECT_FALSE(lock_.IsTaken());
}

TEST_F(LockWordTest, OneThreadAtATimeHasIt) {
  const int rounds = Scaled(20'000, 200'000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, this] {
      for (int i = 0; i < rounds; ++i) {
        ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
        plain_count() = plain_count() + 1;
        ASSERT_THAT(lock_.Release(), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain_count(), 4 * rounds);
}

// As when the one that released it is killed before it wakes anybody.
TEST_F(LockWordTest, ALostWakeIsMadeGood) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Child child = StartWaiter();
  state().word.store(0);
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

// A release may have woken it, another process has come in between, and there
// are others that sleep.
TEST_F(LockWordTest, OneThatGivesUpHasTheNextReleaseWakeOthers) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_THAT(lock_.AcquireAfterSleep(Deadline(absl::ZeroDuration())),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(word(), LockWord::kWaiters | members().self());
}

TEST_F(LockWordTest, OneThatHasWaitedForLongHasItHandedOver) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Child child = StartWaiter();
  AwaitCondition([&] { return (word() & LockWord::kHandover) != 0; });
  // Without the other it would not be without the lock at any time.
  absl::Status got_it = absl::DeadlineExceededError("");
  while (!got_it.ok()) {
    ASSERT_THAT(lock_.Release(), IsOk());
    ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
    got_it = got_it_.Await(absl::ZeroDuration());
  }
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(LockWordTest, IsKeptForASleeper) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  const uint32_t kept = LockWord::kWaiters | LockWord::kHandover;
  state().word |= kept;
  // It sleeps, but does not take it.
  Child sleeper = StartSleeper();
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(sleeper.Wait(), ExitedWith(0));
  EXPECT_EQ(word(), kept);

  // One that only tries may have it, as nobody may be left that it is kept for.
  ASSERT_THAT(lock_.Acquire(absl::ZeroDuration()), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());

  // One that comes and can wait does so, but not for ever.
  state().word = kept;
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  EXPECT_EQ(word() & LockWord::kWaiters, LockWord::kWaiters);
}

TEST_F(LockWordTest, IsKeptForNobodyIfNobodySleeps) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  state().word |= LockWord::kWaiters | LockWord::kHandover;
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(word(), 0u);
}

TEST_F(LockWordTest, SignalsDoNotEndAWait) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  Marker handled = *Marker::Create();
  static Marker* told;
  told = &handled;
  signal(SIGUSR1, [](int) { static_cast<void>(told->Signal()); });
  Child child = StartWaiter();
  for (int i = 0; i < 3; ++i) {
    child.Kill(SIGUSR1);
    ASSERT_THAT(handled.Await(), IsOk());
  }
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  signal(SIGUSR1, SIG_DFL);
}

TEST_F(LockWordTest, ExpectSleeperHasReleaseWake) {
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  lock_.ExpectSleeper();
  EXPECT_EQ(word(), members().self() | LockWord::kWaiters);
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_EQ(word(), 0u);
}

TEST_F(LockWordTest, OneThatWasMovedToItTakesItAsOneThatHasSlept) {
  ASSERT_THAT(lock_.AcquireAfterSleep(Deadline(kLongWait)), IsOk());
  EXPECT_EQ(word(), members().self() | LockWord::kWaiters);
}

}  // namespace
}  // namespace mp::internal
