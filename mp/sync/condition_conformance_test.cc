// CPython's _TestCondition: what those tests assert, with processes of each
// start method; see docs/conformance.md.

#include <signal.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/condition.h"
#include "mp/sync/internal/shared_numbers.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using internal::ExitCodeOf;
using internal::kLong;
using internal::SharedNumbers;
using testing::IsOk;
using testing::StatusIs;

// Which of the SharedNumbers is what.
enum { kWoken, kTimedOut, kState };

// Waits, and counts how that ended.
absl::Status WaitAndCount(Condition condition, SharedNumbers numbers,
                          absl::Duration timeout) {
  MP_ASSIGN_OR_RETURN(ConditionGuard guard, ConditionGuard::Take(condition));
  const absl::Status status = condition.Wait(timeout);
  if (absl::IsDeadlineExceeded(status)) {
    ++numbers[kTimedOut];
    return absl::OkStatus();
  }
  ++numbers[kWoken];
  return status;
}

class ConditionConformanceTest : public internal::StartMethodTest {
 protected:
  ~ConditionConformanceTest() override { JoinAll(); }

  // No thread is left where a process is forked: tsan takes it for a leak of
  // that one's.
  void JoinAll() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    for (auto& process : processes_) {
      EXPECT_THAT(process->Join(kLong), IsOk());
      EXPECT_EQ(process->exitcode(), 0);
    }
    processes_.clear();
  }

  // Starts a process that waits.
  void StartProcess(absl::Duration timeout = kLong) {
    processes_.push_back(std::make_unique<Process>(
        options(), WaitAndCount, condition_, numbers_, timeout));
    MP_CHECK_OK(processes_.back()->Start());
  }
  // Starts a thread that waits.
  void StartThread(absl::Duration timeout = kLong) {
    threads_.emplace_back([this, timeout] {
      EXPECT_THAT(WaitAndCount(condition_, numbers_, timeout), IsOk());
    });
  }
  void StartSix(absl::Duration timeout = kLong) {
    for (int i = 0; i < 3; ++i) StartProcess(timeout);
    for (int i = 0; i < 3; ++i) StartThread(timeout);
  }

  void AwaitNumber(int which, int value) {
    while (numbers_[which] != value) absl::SleepFor(absl::Milliseconds(1));
  }
  void AwaitWaiting(int count) {
    while (condition_.waiting() != count) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  void Notify(int count) {
    ASSERT_THAT(condition_.Acquire(kLong), IsOk());
    EXPECT_THAT(condition_.Notify(count), IsOk());
    ASSERT_THAT(condition_.Release(), IsOk());
  }

  // Takes `steps` steps, a moment apart, and tells of each.
  void TakeSteps(int steps) {
    for (int i = 0; i < steps; ++i) {
      absl::SleepFor(absl::Milliseconds(5));
      ASSERT_THAT(condition_.Acquire(kLong), IsOk());
      ++numbers_[kState];
      EXPECT_THAT(condition_.Notify(), IsOk());
      ASSERT_THAT(condition_.Release(), IsOk());
    }
  }

  // Nobody was woken who should not have been.
  void ExpectWokenStays(int count) {
    absl::SleepFor(absl::Milliseconds(20));
    EXPECT_EQ(numbers_[kWoken], count);
  }

  Condition condition_ = *Condition::Create();
  SharedNumbers numbers_;

 private:
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<std::thread> threads_;
};
MP_INSTANTIATE_TEST_SUITE(ConditionConformanceTest, AllStartMethods);

// test_notify
TEST_P(ConditionConformanceTest, EachNotifyWakesOne) {
  StartProcess();
  StartThread();
  AwaitWaiting(2);
  ExpectWokenStays(0);
  Notify(1);
  AwaitNumber(kWoken, 1);
  ExpectWokenStays(1);
  Notify(1);
  AwaitNumber(kWoken, 2);
  EXPECT_EQ(condition_.waiting(), 0);
}

// test_notify_all
TEST_P(ConditionConformanceTest, NotifyAllWakesAllAfterOthersTimedOut) {
  StartSix(absl::Milliseconds(50));
  AwaitNumber(kTimedOut, 6);
  EXPECT_EQ(condition_.waiting(), 0);
  JoinAll();
  StartSix();
  AwaitWaiting(6);
  ExpectWokenStays(0);
  ASSERT_THAT(condition_.Acquire(kLong), IsOk());
  EXPECT_THAT(condition_.NotifyAll(), IsOk());
  ASSERT_THAT(condition_.Release(), IsOk());
  AwaitNumber(kWoken, 6);
  EXPECT_EQ(condition_.waiting(), 0);
}

// test_notify_n
TEST_P(ConditionConformanceTest, NotifyWakesUpToAsManyAsItSays) {
  StartSix();
  AwaitWaiting(6);
  ExpectWokenStays(0);
  Notify(2);
  AwaitNumber(kWoken, 2);
  ExpectWokenStays(2);
  Notify(4);
  AwaitNumber(kWoken, 6);
  Notify(3);
  ExpectWokenStays(6);
}

// test_timeout
TEST_P(ConditionConformanceTest, WaitTakesAsLongAsItSays) {
  const auto wait = [](Condition condition) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto guard, ConditionGuard::Take(condition));
    const absl::Time start = absl::Now();
    const absl::Status status = condition.Wait(absl::Milliseconds(100));
    if (!absl::IsDeadlineExceeded(status)) return absl::InternalError("woken");
    if (absl::Now() - start < absl::Milliseconds(90)) {
      return absl::InternalError("too early");
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(Run(wait, condition_), 0);
}

// test_waitfor
TEST_P(ConditionConformanceTest, WaitForWaitsUntilItIsSo) {
  const auto wait = [](Condition condition, SharedNumbers numbers) {
    MP_CHECK_OK(condition.Acquire());
    ++numbers[kWoken];
    MP_CHECK_OK(condition.WaitFor([&] { return numbers[kState] == 4; }));
    const bool is_so = numbers[kState] == 4;
    MP_CHECK_OK(condition.Release());
    return is_so ? absl::OkStatus() : absl::InternalError("it is not so");
  };
  Process process(options(), wait, condition_, numbers_);
  ASSERT_THAT(process.Start(), IsOk());
  AwaitNumber(kWoken, 1);
  TakeSteps(4);
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

// test_waitfor_timeout
TEST_P(ConditionConformanceTest, WaitForGivesUpAtItsDeadline) {
  const auto wait = [](Condition condition,
                       SharedNumbers numbers) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto guard, ConditionGuard::Take(condition));
    ++numbers[kWoken];
    const absl::Time start = absl::Now();
    const absl::Status status = condition.WaitFor(
        [&] { return numbers[kState] == 4; }, absl::Milliseconds(100));
    if (!absl::IsDeadlineExceeded(status)) return absl::InternalError("so");
    if (absl::Now() - start < absl::Milliseconds(90)) {
      return absl::InternalError("too early");
    }
    return absl::OkStatus();
  };
  Process process(options(), wait, condition_, numbers_);
  ASSERT_THAT(process.Start(), IsOk());
  AwaitNumber(kWoken, 1);
  TakeSteps(3);
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), 0);
}

// test_wait_result
TEST_P(ConditionConformanceTest, WaitSaysWhetherItWasNotified) {
  const auto notify = [](Condition condition) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto guard, ConditionGuard::Take(condition));
    return condition.Notify();
  };
  ASSERT_THAT(condition_.Acquire(kLong), IsOk());
  EXPECT_THAT(condition_.Wait(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(condition_.Wait(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  Process process(options(), notify, condition_);
  ASSERT_THAT(process.Start(), IsOk());
  EXPECT_THAT(condition_.Wait(kLong), IsOk());
  ASSERT_THAT(condition_.Release(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
}

class RealConditionConformanceTest : public ConditionConformanceTest {};
MP_INSTANTIATE_TEST_SUITE(RealConditionConformanceTest, RealStartMethods);

// test_wait_result, its end: a wait is interrupted by SIGINT
TEST_P(RealConditionConformanceTest, InterruptEndsAProcessThatWaits) {
  Process process(options(), WaitAndCount, condition_, numbers_, kLong);
  ASSERT_THAT(process.Start(), IsOk());
  AwaitWaiting(1);
  ASSERT_THAT(process.Interrupt(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_EQ(process.exitcode(), -SIGINT);
}

}  // namespace
}  // namespace mp
