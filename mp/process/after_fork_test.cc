#include "mp/process/after_fork.h"

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/process.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Optional;

// As in a forked child.
std::string& Ran() {
  static std::string& ran = *new std::string;
  return ran;
}

TEST(AfterForkTest, RunsThoseThatLiveInTheOrderOfTheirMaking) {
  std::string ran;
  std::optional<AfterFork> first([&] { ran += "1"; });
  std::optional<AfterFork> second([&] { ran += "2"; });
  std::optional<AfterFork> third([&] { ran += "3"; });
  internal::RunAfterFork();
  EXPECT_EQ(ran, "123");
  second.reset();
  internal::RunAfterFork();
  EXPECT_EQ(ran, "12313");
  third.reset();
  second.emplace([&] { ran += "4"; });
  first.reset();
  internal::RunAfterFork();
  EXPECT_EQ(ran, "123134");
  second.reset();
  internal::RunAfterFork();
  EXPECT_EQ(ran, "123134");
}

TEST(AfterForkTest, OneMadeMeanwhileWaitsForTheNextFork) {
  std::string ran;
  std::optional<AfterFork> inner;
  const AfterFork outer([&] {
    ran += "o";
    inner.emplace([&] { ran += "i"; });
  });
  const AfterFork last([&] { ran += "l"; });
  internal::RunAfterFork();
  EXPECT_EQ(ran, "ol");
  // It is replaced by a new one in its turn, which is not before the next.
  internal::RunAfterFork();
  EXPECT_EQ(ran, "olol");
}

TEST(AfterForkTest, OneMayEndItselfOrOthers) {
  std::string ran;
  std::optional<AfterFork> self;
  std::optional<AfterFork> next;
  std::optional<AfterFork> last;
  std::optional<AfterFork> before([&] { ran += "b"; });
  self.emplace([&] {
    ran += "s";
    next.reset();
    before.reset();
    last.reset();
    self.reset();
  });
  next.emplace([&] { ran += "n"; });
  const AfterFork kept([&] { ran += "k"; });
  last.emplace([&] { ran += "l"; });
  internal::RunAfterFork();
  EXPECT_EQ(ran, "bsk");
  internal::RunAfterFork();
  EXPECT_EQ(ran, "bskk");
}

TEST(AfterForkTest, WhatItThrowsIsToldAndTheOthersRun) {
  std::string ran;
  const AfterFork throws([] { throw std::runtime_error("oh"); });
  const AfterFork throws_too([] { throw 42; });
  const AfterFork nothing(nullptr);
  const AfterFork last([&] { ran += "l"; });
  ::testing::internal::CaptureStderr();
  internal::RunAfterFork();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("[WARNING/MainProcess] AfterFork: uncaught oh"));
  EXPECT_EQ(ran, "l");
}

int RunProcess(StartMethod method, void (*function)()) {
  Process process({.context = method}, function);
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join());
  return process.exitcode().value_or(-1000);
}

TEST(AfterForkTest, RunsInForkedChildrenOnlyBeforeTheirFunction) {
  const AfterFork counts([] { Ran() += "x"; });
  const auto size = [] { Exit(static_cast<int>(Ran().size())); };
  EXPECT_EQ(RunProcess(StartMethod::kFork, size), 1);
  EXPECT_EQ(RunProcess(StartMethod::kSpawn, size), 0);
  EXPECT_EQ(RunProcess(StartMethod::kForkServer, size), 0);
  EXPECT_EQ(RunProcess(StartMethod::kThread, size), 0);
  EXPECT_EQ(Ran(), "");
}

// As an object that has one and is made anew in each child, such as the
// locks of CPython's test_lock, which doubled with each generation.
std::unique_ptr<AfterFork>& Renewed() {
  static auto& renewed = *new std::unique_ptr<AfterFork>;
  return renewed;
}
void Renew() {
  Ran() += "x";
  Renewed() = std::make_unique<AfterFork>(Renew);
}

void Descend(int generation) {
  if (generation < 5) {
    Process child({.context = StartMethod::kFork}, Descend, generation + 1);
    MP_CHECK_OK(child.Start());
    MP_CHECK_OK(child.Join());
    if (child.exitcode() != 0) Exit(1);
  }
  if (Ran().size() != static_cast<size_t>(generation)) Exit(1);
}

TEST(AfterForkTest, GenerationsDoNotMakeMoreOfThem) {
  Renewed() = std::make_unique<AfterFork>(Renew);
  Process child({.context = StartMethod::kFork}, Descend, 1);
  ASSERT_THAT(child.Start(), IsOk());
  ASSERT_THAT(child.Join(), IsOk());
  EXPECT_THAT(child.exitcode(), Optional(0));
  Renewed().reset();
}

TEST(AfterForkTest, ListIsWholeInTheChildWhateverThreadsDo) {
  const AfterFork counts([] { Ran() += "x"; });
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) const AfterFork one([] {});
  });
  int right = 0;
  for (int i = 0; i < 30; ++i) {
    right += RunProcess(StartMethod::kFork, [] {
      const AfterFork own([] {});
      Exit(static_cast<int>(Ran().size()));
    });
  }
  done = true;
  busy.join();
  EXPECT_EQ(right, 30);
}

}  // namespace
}  // namespace mp
