#include <unistd.h>

#include <iostream>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"

// CPython's _TestLock: what those tests assert, in a process of each start
// method.

namespace mp {
namespace {

using internal::AllStartMethods;

// Ends the process, as a failed EXPECT in it would be lost.
void Expect(bool condition, int line) {
  if (condition) return;
  std::cerr << "line " << line << " is not true\n";
  Exit(1);
}
#define MP_EXPECT(condition) Expect(condition, __LINE__)

absl::Status Try(auto& lock) { return lock.Acquire(absl::ZeroDuration()); }

class LockConformanceTest : public internal::StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(LockConformanceTest, AllStartMethods);

// test_lock
TEST_P(LockConformanceTest, LockIsTakenOnce) {
  const auto body = [](Lock lock) {
    MP_EXPECT(lock.Acquire().ok());
    MP_EXPECT(absl::IsDeadlineExceeded(Try(lock)));
    MP_EXPECT(lock.Release().ok());
    MP_EXPECT(absl::IsFailedPrecondition(lock.Release()));
  };
  EXPECT_EQ(Run(body, *Lock::Create()), 0);
}

// test_rlock
TEST_P(LockConformanceTest, RLockIsTakenAndReleasedAsOften) {
  const auto body = [](RLock lock) {
    for (int i = 0; i < 3; ++i) MP_EXPECT(lock.Acquire().ok());
    for (int i = 0; i < 3; ++i) MP_EXPECT(lock.Release().ok());
    MP_EXPECT(!lock.Locked());
    MP_EXPECT(absl::IsFailedPrecondition(lock.Release()));
  };
  EXPECT_EQ(Run(body, *RLock::Create()), 0);
}

// test_lock_context
TEST_P(LockConformanceTest, LockIsHeldForAScope) {
  const auto body = [](Lock lock) -> absl::Status {
    {
      MP_ASSIGN_OR_RETURN(LockGuard guard, LockGuard::Take(lock));
      MP_EXPECT(lock.Locked());
    }
    MP_EXPECT(!lock.Locked());
    std::scoped_lock held(lock);
    MP_EXPECT(lock.Locked());
    return absl::OkStatus();
  };
  EXPECT_EQ(Run(body, *Lock::Create()), 0);
}

// test_rlock_context
TEST_P(LockConformanceTest, RLockIsHeldForScopesInEachOther) {
  const auto body = [](RLock lock) -> absl::Status {
    {
      MP_ASSIGN_OR_RETURN(RLockGuard outer, RLockGuard::Take(lock));
      MP_ASSIGN_OR_RETURN(RLockGuard inner, RLockGuard::Take(lock));
      MP_EXPECT(lock.depth() == 2);
    }
    MP_EXPECT(!lock.Locked());
    std::scoped_lock held(lock);
    MP_EXPECT(lock.depth() == 1);
    return absl::OkStatus();
  };
  EXPECT_EQ(Run(body, *RLock::Create()), 0);
}

// test_repr_lock (of CPython 3.14), in our words
TEST_P(LockConformanceTest, LockSaysWhoHoldsIt) {
  Lock lock = *Lock::Create();
  const auto text = [](Lock lock, std::string expected) {
    MP_EXPECT(lock.ToString() == expected);
  };
  EXPECT_EQ(Run(text, lock, "Lock(free)"), 0);
  ASSERT_TRUE(lock.Acquire().ok());
  EXPECT_EQ(Run(text, lock, lock.ToString()), 0);
  EXPECT_EQ(lock.ToString(),
            "Lock(held by pid " + std::to_string(getpid()) + ")");
}

// test_repr_rlock (of CPython 3.14), in our words
TEST_P(LockConformanceTest, RLockSaysWhoHoldsItHowOften) {
  RLock lock = *RLock::Create();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(lock.Acquire().ok());
  EXPECT_EQ(lock.ToString(), "RLock(held by this thread, 2 times)");
  const std::string held =
      "RLock(held by pid " + std::to_string(getpid()) + ")";
  std::thread([&] { EXPECT_EQ(lock.ToString(), held); }).join();
  const auto text = [](RLock lock, std::string expected) {
    MP_EXPECT(lock.ToString() == expected);
    MP_EXPECT(lock.depth() == 0);
  };
  EXPECT_EQ(Run(text, lock, held), 0);
}

// "acquire" with a timeout, section 9 of which the tests of CPython show little
TEST_P(LockConformanceTest, OnlyItsThreadReleasesAnRLockAndAnyoneALock) {
  Lock lock = *Lock::Create();
  RLock rlock = *RLock::Create();
  ASSERT_TRUE(lock.Acquire().ok());
  ASSERT_TRUE(rlock.Acquire().ok());
  const auto body = [](Lock lock, RLock rlock) {
    MP_EXPECT(lock.Release().ok());
    MP_EXPECT(absl::IsFailedPrecondition(rlock.Release()));
    MP_EXPECT(absl::IsDeadlineExceeded(Try(rlock)));
  };
  EXPECT_EQ(Run(body, lock, rlock), 0);
  EXPECT_FALSE(lock.Locked());
  EXPECT_TRUE(rlock.Locked());
}

}  // namespace
}  // namespace mp
