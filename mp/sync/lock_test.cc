#include "mp/sync/lock.h"

#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/placed.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using internal::AllStartMethods;
using internal::kLong;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Scaled;
using testing::StatusIs;

// A struct of a program's own, with a lock in it.
struct Account {
  LockState lock;
  int64_t balance;
};
using SharedAccount = internal::Placed<Account>;

void ExpectStatus(absl::StatusCode code, const absl::Status& status) {
  if (status.code() == code) return;
  std::cerr << "not " << code << ": " << status << "\n";
  Exit(1);
}

class LockTest : public internal::StartMethodTest {
 protected:
  Lock lock_ = *Lock::Create();
};
MP_INSTANTIATE_TEST_SUITE(LockTest, AllStartMethods);

TEST_P(LockTest, AGuardReleasesNobodyElsesLock) {
  if (is_thread()) GTEST_SKIP() << "a thread holds it as its process does";
  Lock taken = *Lock::Create();
  Lock seen = *Lock::Create();
  ASSERT_THAT(taken.Acquire(), IsOk());
  ASSERT_THAT(seen.Acquire(), IsOk());
  absl::StatusOr<LockGuard> guard = LockGuard::Take(lock_);
  ASSERT_THAT(guard, IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  const auto hold = [](Lock lock, Lock taken, Lock seen) {
    MP_CHECK_OK(lock.Acquire(kLong));
    MP_CHECK_OK(taken.Release());
    MP_CHECK_OK(seen.Acquire(kLong));
    MP_CHECK_OK(seen.Release());
    MP_CHECK_OK(lock.Release());
  };
  Process process(options(), +hold, lock_, taken, seen);
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(taken.Acquire(kLong), IsOk());
  const pid_t holder = lock_.owner_pid();
  EXPECT_THAT(guard->Release(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(lock_.owner_pid(), holder);
  ASSERT_THAT(seen.Release(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(LockTest, AProcessFindsItTaken) {
  const auto try_it = [](Lock lock, absl::StatusCode code) {
    ExpectStatus(code, lock.Acquire(absl::ZeroDuration()));
    if (!lock.Locked()) Exit(2);
  };
  ASSERT_THAT(lock_.Acquire(), IsOk());
  EXPECT_EQ(Run(try_it, lock_, absl::StatusCode::kDeadlineExceeded), 0);
  ASSERT_THAT(lock_.Release(), IsOk());
  if (is_thread()) {
    EXPECT_EQ(Run(try_it, lock_, absl::StatusCode::kOk), 0);
  }
}

TEST_P(LockTest, AnotherProcessMayReleaseIt) {
  ASSERT_THAT(lock_.Acquire(), IsOk());
  EXPECT_EQ(Run([](Lock lock) { return lock.Release(); }, lock_), 0);
  EXPECT_FALSE(lock_.Locked());
}

TEST_P(LockTest, AProcessWaitsForIt) {
  ASSERT_THAT(lock_.Acquire(), IsOk());
  Process process(
      options(),
      [](Lock lock) -> absl::Status {
        MP_RETURN_IF_ERROR(lock.Acquire(kLong));
        return lock.Release();
      },
      lock_);
  ASSERT_THAT(process.Start(), IsOk());
  while ((lock_.placed()->word.word.load() & internal::LockWord::kWaiters) ==
         0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_THAT(lock_.Release(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

absl::Status Deposit(SharedAccount account, Lock lock, int times) {
  for (int i = 0; i < times; ++i) {
    MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(lock, kLong));
    account->balance = account->balance + 1;
  }
  return absl::OkStatus();
}

TEST_P(LockTest, OneAtATimeHasIt) {
  const int times = Scaled(20'000, 200'000);
  SharedAccount account = *SharedAccount::Create();
  std::vector<Process> processes;
  for (int i = 0; i < 3; ++i) {
    processes.emplace_back(options(), Deposit, account, lock_, times);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  ASSERT_THAT(Deposit(account, lock_, times), IsOk());
  for (Process& process : processes) {
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(account->balance, 4 * times);
}

TEST_P(LockTest, LiesInAStructOfTheProgramsOwn) {
  SharedAccount account = *SharedAccount::Create();
  const auto deposit = [](SharedAccount account) -> absl::Status {
    MP_ASSIGN_OR_RETURN(Lock lock, Lock::At(&account->lock, account.arena()));
    return Deposit(account, lock, 1000);
  };
  Process process(options(), deposit, account);
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(deposit(account), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(account->balance, 2000);
}

TEST_P(LockTest, ManyTravelInOneMessage) {
  std::vector<Lock> locks;
  for (int i = 0; i < 1000; ++i) locks.push_back(*Lock::Create());
  locks.push_back(locks.front());
  ASSERT_THAT(locks.front().Acquire(), IsOk());
  EXPECT_EQ(Run(
                [](std::vector<Lock> locks) {
                  for (size_t i = 0; i < locks.size(); ++i) {
                    const bool is_first = i == 0 || i == locks.size() - 1;
                    if (locks[i].Locked() != is_first) Exit(1);
                  }
                  if (locks.front() != locks.back()) Exit(2);
                  if (locks.front() == locks[1]) Exit(3);
                },
                locks),
            0);
}

TEST(LockHandleTest, CopiesAreTheSameLock) {
  Lock copy;
  EXPECT_EQ(copy, Lock());
  {
    Lock lock = *Lock::Create();
    copy = lock;
    EXPECT_EQ(copy, lock);
    ASSERT_THAT(lock.Acquire(), IsOk());
  }
  EXPECT_TRUE(copy.Locked());
  EXPECT_EQ(copy.owner_pid(), getpid());
  EXPECT_EQ(copy.ToString(), absl::StrCat("Lock(held by pid ", getpid(), ")"));
  EXPECT_THAT(copy.Release(), IsOk());
}

TEST(LockHandleTest, AnEmptyOneSaysSo) {
  Lock moved = *Lock::Create();
  const Lock lock = std::move(moved);
  const auto is_empty = StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("the handle is empty"));
  for (Lock empty : {moved, Lock()}) {
    EXPECT_THAT(empty.Acquire(), is_empty);
    EXPECT_THAT(empty.Release(), is_empty);
    EXPECT_THAT(empty.AcquireAbandoned(), is_empty);
    EXPECT_THAT(empty.MarkRepaired(), is_empty);
    EXPECT_FALSE(empty.Locked());
    EXPECT_EQ(empty.owner_pid(), 0);
    EXPECT_EQ(empty.ToString(), "Lock(empty)");
    Process process([](Lock) {}, empty);
    EXPECT_THAT(process.Start(), is_empty);
  }
}

TEST(LockHandleTest, ANegativeTimeoutOnlyTries) {
  Lock lock = *Lock::Create();
  EXPECT_THAT(lock.Acquire(absl::Seconds(-1)), IsOk());
  EXPECT_THAT(lock.Acquire(absl::Seconds(-1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(LockAtTest, RefusesWhatIsNoState) {
  const Arena arena = *Arena::Default();
  EXPECT_THAT(Lock::At(nullptr, arena),
              StatusIs(absl::StatusCode::kInvalidArgument));
  alignas(LockState) char bytes[2 * sizeof(LockState)] = {};
  EXPECT_THAT(Lock::At(reinterpret_cast<LockState*>(bytes + 4), arena),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("must be a multiple of 8")));
  LockState state = {};
  EXPECT_THAT(Lock::At(&state, Arena()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the arena is empty")));
}

TEST(LockAtTest, DoesNotTravelByItself) {
  LockState state = {};
  Lock lock = *Lock::At(&state, *Arena::Default());
  Process process([](Lock) {}, lock);
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("call At() there")));
}

TEST(LockGuardTest, ReleasesAtTheEndOfItsScope) {
  Lock lock = *Lock::Create();
  {
    absl::StatusOr<LockGuard> guard = LockGuard::Take(lock);
    ASSERT_THAT(guard, IsOk());
    EXPECT_TRUE(lock.Locked());
    EXPECT_THAT(LockGuard::Take(lock, absl::Milliseconds(1)),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    LockGuard other = *std::move(guard);
    EXPECT_TRUE(lock.Locked());
  }
  EXPECT_FALSE(lock.Locked());
}

TEST(LockGuardTest, MayReleaseBefore) {
  Lock lock = *Lock::Create();
  absl::StatusOr<LockGuard> guard = LockGuard::Take(lock);
  ASSERT_THAT(guard, IsOk());
  ASSERT_THAT(guard->Release(), IsOk());
  ASSERT_THAT(lock.Acquire(), IsOk());
  ASSERT_THAT(guard->Release(), IsOk());
  EXPECT_TRUE(lock.Locked());
}

TEST(LockStdTest, WorksWithTheStandardGuards) {
  Lock a = *Lock::Create();
  Lock b = *Lock::Create();
  {
    std::scoped_lock both(a, b);
    EXPECT_TRUE(a.Locked());
    EXPECT_TRUE(b.Locked());
    EXPECT_FALSE(std::unique_lock(a, std::try_to_lock).owns_lock());
  }
  EXPECT_TRUE(std::unique_lock(a, std::try_to_lock).owns_lock());
  EXPECT_FALSE(a.Locked());
}

TEST(LockStdDeathTest, LockDiesWhereItCannotSayWhy) {
  Lock lock;
  EXPECT_DEATH(lock.lock(), "the handle is empty");
  EXPECT_DEATH(lock.try_lock(), "the handle is empty");
  EXPECT_DEATH(lock.unlock(), "the handle is empty");
}

}  // namespace
}  // namespace mp
