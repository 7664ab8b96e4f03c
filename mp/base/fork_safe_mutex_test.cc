#include "mp/base/fork_safe_mutex.h"

#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"

namespace mp {
namespace {

TEST(ForkSafeMutexTest, OneThreadAtATime) {
  ForkSafeMutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 20'000; ++j) {
        ForkSafeLock lock(mutex);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 80'000);
}

TEST(ForkSafeMutexTest, GivesUpAtTheDeadlineAndNotBefore) {
  ForkSafeMutex mutex;
  mutex.Lock();
  const absl::Time start = absl::Now();
  EXPECT_FALSE(mutex.LockUntil(Deadline(absl::Milliseconds(20))));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  mutex.Unlock();
  ASSERT_TRUE(mutex.LockUntil(Deadline(absl::ZeroDuration())));
  mutex.Unlock();
}

TEST(ForkSafeMutexTest, IsFreeAfterReset) {
  ForkSafeMutex mutex;
  mutex.Lock();
  mutex.Reset();
  ASSERT_TRUE(mutex.LockUntil(Deadline(absl::ZeroDuration())));
  mutex.Unlock();
}

}  // namespace
}  // namespace mp
