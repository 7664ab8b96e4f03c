#include "mp/process/internal/hold_across_forks.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/testing/child.h"

namespace mp::internal {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;

// Two counters that are equal whenever nobody holds the mutex.
struct Pair {
  Pair() { HoldAcrossForks(mutex); }

  void Add() {
    ForkSafeLock lock(mutex);
    ++first;
    std::this_thread::yield();
    ++second;
  }
  absl::Status CheckWhole() {
    if (!mutex.LockUntil(Deadline(absl::Seconds(20)))) {
      return absl::DeadlineExceededError("the mutex is taken");
    }
    const bool is_whole = first == second;
    mutex.Unlock();
    return is_whole ? absl::OkStatus() : absl::DataLossError("half changed");
  }

  ForkSafeMutex mutex;
  int first = 0;
  int second = 0;
};

TEST(HoldAcrossForksTest, WhatTheMutexGuardsIsFreeAndWholeInTheChild) {
  Pair& one = *new Pair;
  Pair& two = *new Pair;
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (Pair* pair : {&one, &two}) {
    threads.emplace_back([&done, pair] {
      while (!done) pair->Add();
    });
  }
  for (int i = 0; i < 100; ++i) {
    Child child = RunInChild([&]() -> absl::Status {
      absl::Status status = one.CheckWhole();
      status.Update(two.CheckWhole());
      return status;
    });
    ASSERT_THAT(child.Wait(), ExitedWith(0));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(one.CheckWhole().ok());
}

TEST(HoldAcrossForksTest, SeveralThreadsForkAtOnce) {
  static Pair& pair = *new Pair;
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 20; ++j) {
        Child child = RunInChild([] { return pair.CheckWhole(); });
        HoldAcrossForks(*new ForkSafeMutex);
        pair.Add();
        right += child.Wait().code == 0 ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 60);
}

}  // namespace
}  // namespace mp::internal
