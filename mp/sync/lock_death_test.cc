#include <signal.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/event.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/sync/rw_lock.h"
#include "mp/testing/status_matchers.h"

// What becomes of locks whose holders die. Here over the start methods;
// lock_word_death_test has the single cases.

namespace mp {
namespace {

using internal::kLong;
using internal::RealStartMethods;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

MATCHER_P(IsAbandonedBy, pid, "is kAborted because of that pid") {
  return ::testing::ExplainMatchResult(
      StatusIs(absl::StatusCode::kAborted,
               HasSubstr(absl::StrCat("pid ", pid, " ended"))),
      arg, result_listener);
}

// The three kinds of lock, as one that tests treat alike.
absl::Status Take(Lock& lock, absl::Duration timeout) {
  return lock.Acquire(timeout);
}
absl::Status Take(RLock& lock, absl::Duration timeout) {
  return lock.Acquire(timeout);
}
absl::Status Take(RwLock& lock, absl::Duration timeout) {
  return lock.AcquireWrite(timeout);
}
absl::Status Drop(Lock& lock) { return lock.Release(); }
absl::Status Drop(RLock& lock) { return lock.Release(); }
absl::Status Drop(RwLock& lock) { return lock.ReleaseWrite(); }

template <typename L>
absl::Status TakeAndStay(L lock, Event has_it) {
  MP_RETURN_IF_ERROR(Take(lock, kLong));
  MP_RETURN_IF_ERROR(has_it.Set());
  while (true) pause();
}

class LockDeathTest : public internal::StartMethodTest {
 protected:
  // Starts a process that takes `lock` and keeps it.
  template <typename L>
  Process StartHolder(const L& lock) {
    Event has_it = *Event::Create();
    Process process(options(), TakeAndStay<L>, lock, has_it);
    MP_CHECK_OK(process.Start());
    MP_CHECK_OK(has_it.Wait(kLong));
    return process;
  }

  template <typename L>
  int KillHolder(const L& lock) {
    Process process = StartHolder(lock);
    const int pid = process.pid().value();
    MP_CHECK_OK(process.Kill());
    MP_CHECK_OK(process.Join(kLong));
    return pid;
  }

  template <typename L>
  void ExpectToldAndRepaired() {
    L lock = *L::Create();
    const int dead = KillHolder(lock);
    EXPECT_THAT(Take(lock, absl::ZeroDuration()), IsAbandonedBy(dead));
    EXPECT_THAT(Take(lock, kLong), IsAbandonedBy(dead));
    ASSERT_THAT(lock.AcquireAbandoned(), IsOk());
    EXPECT_THAT(lock.AcquireAbandoned(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    ASSERT_THAT(lock.MarkRepaired(), IsOk());
    EXPECT_THAT(lock.MarkRepaired(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
    ASSERT_THAT(Drop(lock), IsOk());
    ASSERT_THAT(Take(lock, kLong), IsOk());
    ASSERT_THAT(Drop(lock), IsOk());
  }

  template <typename L>
  void ExpectIgnored() {
    L lock = *L::Create({.on_owner_death = OnOwnerDeath::kIgnore});
    KillHolder(lock);
    ASSERT_THAT(Take(lock, kLong), IsOk());
    ASSERT_THAT(Drop(lock), IsOk());
  }

  template <typename L>
  void ExpectStoppedOneKeepsIt() {
    L lock = *L::Create();
    Process process = StartHolder(lock);
    kill(process.pid().value(), SIGSTOP);
    EXPECT_THAT(Take(lock, absl::Milliseconds(120)),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    MP_CHECK_OK(process.Kill());
    EXPECT_THAT(Take(lock, kLong), IsAbandonedBy(process.pid().value()));
  }

  template <typename L>
  void ExpectAllThatWaitTold() {
    L lock = *L::Create();
    Process holder = StartHolder(lock);
    std::vector<Process> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.emplace_back(
          options(),
          [](L lock) -> absl::Status {
            const absl::Status taken = Take(lock, kLong);
            if (absl::IsAborted(taken)) return absl::OkStatus();
            return absl::InternalError(absl::StrCat("told ", taken.ToString()));
          },
          lock);
      MP_CHECK_OK(waiters.back().Start());
    }
    MP_CHECK_OK(holder.Kill());
    for (Process& waiter : waiters) {
      MP_CHECK_OK(waiter.Join(kLong));
      EXPECT_EQ(waiter.exitcode(), 0);
    }
  }
};
MP_INSTANTIATE_TEST_SUITE(LockDeathTest, RealStartMethods);

TEST_P(LockDeathTest, IsToldAndRepaired) {
  ExpectToldAndRepaired<Lock>();
  ExpectToldAndRepaired<RLock>();
  ExpectToldAndRepaired<RwLock>();
}

TEST_P(LockDeathTest, MayBeIgnored) {
  ExpectIgnored<Lock>();
  ExpectIgnored<RLock>();
  ExpectIgnored<RwLock>();
}

TEST_P(LockDeathTest, AStoppedProcessIsNotDead) {
  ExpectStoppedOneKeepsIt<Lock>();
  ExpectStoppedOneKeepsIt<RLock>();
  ExpectStoppedOneKeepsIt<RwLock>();
}

TEST_P(LockDeathTest, AllThatWaitAreTold) {
  ExpectAllThatWaitTold<Lock>();
  ExpectAllThatWaitTold<RLock>();
  ExpectAllThatWaitTold<RwLock>();
}

TEST_P(LockDeathTest, OneThatEndsInOrderMayForgetIt) {
  Lock lock = *Lock::Create();
  Process process(
      options(), [](Lock lock) { return lock.Acquire(); }, lock);
  EXPECT_EQ(internal::ExitCodeOf(process), 0);
  EXPECT_THAT(lock.Acquire(kLong), IsAbandonedBy(process.pid().value()));
}

TEST_P(LockDeathTest, ADeadWaiterHarmsNobody) {
  Lock lock = *Lock::Create();
  ASSERT_THAT(lock.Acquire(), IsOk());
  Process waiter(options(), TakeAndStay<Lock>, lock, *Event::Create());
  ASSERT_THAT(waiter.Start(), IsOk());
  while ((lock.placed()->word.word.load() & internal::LockWord::kWaiters) ==
         0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_THAT(waiter.Kill(), IsOk());
  ASSERT_THAT(waiter.Join(kLong), IsOk());
  ASSERT_THAT(lock.Release(), IsOk());
  EXPECT_THAT(lock.Acquire(kLong), IsOk());
}

TEST_P(LockDeathTest, DeadReadersLetAWriterIn) {
  RwLock lock = *RwLock::Create();
  Process reader(
      options(),
      [](RwLock lock) -> absl::Status {
        MP_RETURN_IF_ERROR(lock.AcquireRead());
        while (true) pause();
      },
      lock);
  ASSERT_THAT(reader.Start(), IsOk());
  while (lock.readers() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(lock.AcquireWrite(absl::Milliseconds(5)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(reader.Kill(), IsOk());
  EXPECT_THAT(lock.AcquireWrite(kLong), IsOk());
}

TEST_P(LockDeathTest, LockDiesWhereItCannotSayWhy) {
  Lock lock = *Lock::Create();
  KillHolder(lock);
  EXPECT_DEATH(lock.lock(), "ended while holding it");
}

}  // namespace
}  // namespace mp
