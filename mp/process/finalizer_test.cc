#include "mp/process/finalizer.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using ::mp::internal::RunFinalizers;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::RunInChild;

class FinalizerTest : public ::testing::Test {
 protected:
  // A finalizer that says `word`.
  Finalizer Saying(const std::string& word,
                   std::optional<int> priority = std::nullopt) {
    return Finalizer([this, word] { said_ += word; }, priority);
  }

  std::string said_;
};

TEST_F(FinalizerTest, RunsWhenItDies) {
  {
    const Finalizer finalizer = Saying("a");
    EXPECT_TRUE(finalizer.still_active());
    EXPECT_EQ(said_, "");
  }
  EXPECT_EQ(said_, "a");
}

TEST_F(FinalizerTest, RunsOnceWhenItIsAskedFor) {
  {
    Finalizer finalizer = Saying("a", 1);
    EXPECT_TRUE(finalizer.Run());
    EXPECT_EQ(said_, "a");
    EXPECT_FALSE(finalizer.still_active());
    EXPECT_FALSE(finalizer.Run());
    RunFinalizers(std::nullopt);
  }
  EXPECT_EQ(said_, "a");
}

TEST_F(FinalizerTest, DoesNotRunOnceCancelled) {
  {
    Finalizer finalizer = Saying("a", 1);
    finalizer.Cancel();
    EXPECT_FALSE(finalizer.still_active());
    EXPECT_FALSE(finalizer.Run());
    finalizer.Cancel();
    RunFinalizers(std::nullopt);
  }
  EXPECT_EQ(said_, "");
}

TEST_F(FinalizerTest, AtExitInOrderOfPriorityThenNewestFirst) {
  const Finalizer at_death_only = Saying("x");
  const Finalizer low = Saying("a", -100);
  const Finalizer first = Saying("b", 0);
  const Finalizer high = Saying("c", 10);
  const Finalizer second = Saying("d", 0);
  const Finalizer third = Saying("e", 0);
  Finalizer cancelled = Saying("y", 5);
  cancelled.Cancel();
  RunFinalizers(0);
  EXPECT_EQ(said_, "cedb");
  RunFinalizers(0);
  EXPECT_EQ(said_, "cedb");
  EXPECT_TRUE(low.still_active());
  RunFinalizers(std::nullopt);
  EXPECT_EQ(said_, "cedba");
  EXPECT_TRUE(at_death_only.still_active());
  EXPECT_FALSE(low.still_active());
}

TEST_F(FinalizerTest, OneThatMakesAnotherAtExit) {
  std::vector<Finalizer> made;
  const Finalizer last = Saying("z", 0);
  const Finalizer maker(
      [&] {
        said_ += "m";
        made.push_back(Saying("n", 3));
        made.push_back(Saying("l", -1));
      },
      5);
  RunFinalizers(0);
  EXPECT_EQ(said_, "mnz");
  RunFinalizers(std::nullopt);
  EXPECT_EQ(said_, "mnzl");
}

TEST_F(FinalizerTest, OneThatEndsAnotherAtExit) {
  std::optional<Finalizer> other = Saying("o", 0);
  const Finalizer ending([&] { other.reset(); }, 5);
  RunFinalizers(std::nullopt);
  EXPECT_EQ(said_, "o");
}

TEST_F(FinalizerTest, WhatItThrowsIsToldAndTheOthersRun) {
  const Finalizer before = Saying("a", 3);
  const Finalizer throws([] { throw std::runtime_error("oh"); }, 2);
  const Finalizer throws_too([] { throw 42; }, 1);
  const Finalizer after = Saying("b", 0);
  ::testing::internal::CaptureStderr();
  RunFinalizers(std::nullopt);
  {
    const Finalizer dies([] { throw std::runtime_error("again"); });
  }
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(said_, "ab");
  EXPECT_THAT(told, ::testing::AllOf(::testing::HasSubstr("oh"),
                                     ::testing::HasSubstr("uncaught int"),
                                     ::testing::HasSubstr("again")));
}

TEST_F(FinalizerTest, WhatItThrowsWhenAskedForReachesTheCaller) {
  Finalizer finalizer([] { throw std::runtime_error("oh"); });
  EXPECT_THROW(finalizer.Run(), std::runtime_error);
  EXPECT_FALSE(finalizer.Run());
}

TEST_F(FinalizerTest, Moves) {
  Finalizer one = Saying("1", 1);
  Finalizer two = std::move(one);
  EXPECT_FALSE(one.still_active());  // NOLINT: that is the test
  EXPECT_FALSE(one.Run());           // NOLINT
  EXPECT_TRUE(two.still_active());
  EXPECT_EQ(said_, "");
  two = Saying("2");  // the first one's object is gone
  EXPECT_EQ(said_, "1");
  two = Finalizer();
  EXPECT_EQ(said_, "12");
}

TEST_F(FinalizerTest, OneWithNothingToDoIsNotActive) {
  Finalizer nothing(nullptr, 9);
  EXPECT_FALSE(nothing.still_active());
  EXPECT_FALSE(nothing.Run());
  const Finalizer after = Saying("a", 0);
  RunFinalizers(std::nullopt);
  EXPECT_EQ(said_, "a");
}

TEST_F(FinalizerTest, DropsWhatItHoldsWhenItIsDone) {
  const auto held = std::make_shared<int>(1);
  Finalizer run([held] {}, 1);
  Finalizer cancelled([held] {}, 1);
  EXPECT_EQ(held.use_count(), 3);
  run.Run();
  cancelled.Cancel();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(FinalizerTest, BelongsToTheProcessThatMadeIt) {
  std::optional<Finalizer> finalizer = Saying("parent", 1);
  Child child = RunInChild([&]() -> absl::Status {
    if (finalizer->still_active()) return absl::InternalError("active");
    if (finalizer->Run()) return absl::InternalError("ran");
    const Finalizer own = Saying("child", 0);
    RunFinalizers(std::nullopt);
    finalizer.reset();
    return said_ == "child" ? absl::OkStatus() : absl::InternalError(said_);
  });
  EXPECT_THAT(child.Wait(), ExitedWith(0));
  EXPECT_TRUE(finalizer->still_active());
  finalizer.reset();
  EXPECT_EQ(said_, "parent");
}

// CPython: several threads make, run and drop finalizers while others run all.
TEST_F(FinalizerTest, EachRunsOnceWhateverThreadsDo) {
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  std::vector<std::thread> threads;
  std::atomic<int> ran{0};
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < kEach; ++j) {
        Finalizer finalizer([&] { ++ran; }, j % 5);
        if (j % 3 == i % 3) finalizer.Run();
        if (j % 7 == 0) RunFinalizers(2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, kThreads * kEach);
}

TEST_F(FinalizerTest, ForkedChildRunsItsOwnThoughOtherThreadsWereAtTheirs) {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) Finalizer([] {}, 1).Run();
  });
  for (int i = 0; i < 50; ++i) {
    Child child = RunInChild([]() -> absl::Status {
      bool ran = false;
      const Finalizer own([&] { ran = true; }, 0);
      RunFinalizers(0);
      return ran ? absl::OkStatus() : absl::InternalError("did not run");
    });
    ASSERT_THAT(child.Wait(), ExitedWith(0));
  }
  done = true;
  busy.join();
}

TEST_F(FinalizerTest, RunsAtExitUnlessSomebodyElseSeesToIt) {
  const auto leave = [](bool taken_over) {
    // Where a leak checker finds it.
    [[maybe_unused]] static Finalizer* volatile at_exit;
    at_exit = new Finalizer([] { _exit(7); }, -3);
    if (taken_over) internal::TakeOverFinalizersAtExit();
    std::exit(5);
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(leave(false), ::testing::ExitedWithCode(7), "");
  EXPECT_EXIT(leave(true), ::testing::ExitedWithCode(5), "");
}

}  // namespace
}  // namespace mp
