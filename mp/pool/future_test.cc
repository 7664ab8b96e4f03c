#include "mp/pool/future.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/future_state.h"
#include "mp/pool/wait_futures.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <typename T>
std::shared_ptr<internal::FutureState<T>> NewState() {
  return std::make_shared<internal::FutureState<T>>();
}

TEST(FutureTest, HasNothingBeforeTheEnd) {
  const Future<int> future(NewState<int>());
  EXPECT_FALSE(future.done());
  EXPECT_FALSE(future.Wait(absl::ZeroDuration()));
  EXPECT_THAT(future.Get(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("Get")));
  EXPECT_THAT(future.successful(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(FutureTest, GivesItsResultToAllWhoAsk) {
  const auto state = NewState<std::string>();
  const Future<std::string> future(state);
  std::thread setter([&] { state->Set("hello"); });
  EXPECT_THAT(future.Get(), IsOkAndHolds("hello"));
  EXPECT_THAT(future.Get(), IsOkAndHolds("hello"));
  EXPECT_THAT(future.successful(), IsOkAndHolds(true));
  setter.join();
}

TEST(FutureTest, TakeMovesTheResultOutOnce) {
  const auto state = NewState<std::unique_ptr<int>>();
  const Future<std::unique_ptr<int>> future(state);
  state->Set(std::make_unique<int>(7));
  const absl::StatusOr<std::unique_ptr<int>> taken = future.Take();
  ASSERT_THAT(taken, IsOk());
  EXPECT_EQ(**taken, 7);
  EXPECT_THAT(future.Take(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(FutureTest, WithoutAValueHasAStatus) {
  const auto state = NewState<void>();
  const Future<void> future(state);
  state->Set(absl::NotFoundError("no such file"));
  EXPECT_THAT(future.Get(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(future.successful(), IsOkAndHolds(false));
}

TEST(FutureTest, TheFirstEndCounts) {
  const auto state = NewState<int>();
  EXPECT_TRUE(state->Set(1));
  EXPECT_FALSE(state->Set(2));
  EXPECT_THAT(Future<int>(state).Get(), IsOkAndHolds(1));
}

TEST(FutureTest, OfNoTaskRefuses) {
  const Future<int> future;
  EXPECT_FALSE(future.valid());
  EXPECT_THAT(future.Get(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(future.Wait());
  future.Cancel();
}

TEST(FutureTest, CallbackRunsAtTheEndOrAtOnce) {
  const auto state = NewState<int>();
  const Future<int> future(state);
  std::vector<int> seen;
  const auto note = [&](const Future<int>& done) {
    seen.push_back(*done.Get());
  };
  future.OnDone(note);
  EXPECT_THAT(seen, IsEmpty());
  state->Set(3);
  EXPECT_THAT(seen, ElementsAre(3));
  future.OnDone(note);
  EXPECT_THAT(seen, ElementsAre(3, 3));
}

TEST(FutureTest, CallbacksRunInTheirOrder) {
  const auto state = NewState<int>();
  const Future<int> future(state);
  std::vector<int> order;
  for (int i = 0; i < 4; ++i) {
    future.OnDone([&order, i](const Future<int>&) { order.push_back(i); });
  }
  state->Set(absl::InternalError("no"));
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

TEST(FutureTest, OnSuccessAndOnErrorHearOfTheirsOnly) {
  const auto good = NewState<int>();
  const auto bad = NewState<int>();
  std::vector<int> values;
  std::vector<absl::Status> errors;
  for (const auto& state : {good, bad}) {
    const Future<int> future(state);
    future.OnSuccess([&](int value) { values.push_back(value); });
    future.OnError([&](const absl::Status& s) { errors.push_back(s); });
  }
  good->Set(3);
  bad->Set(absl::NotFoundError("none"));
  EXPECT_THAT(values, ElementsAre(3));
  EXPECT_THAT(errors, ElementsAre(StatusIs(absl::StatusCode::kNotFound)));
}

TEST(FutureTest, ErrorLeavesTheResultAlone) {
  const auto state = NewState<int>();
  const Future<int> future(state);
  EXPECT_THAT(future.Error(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  state->Set(3);
  EXPECT_THAT(future.Error(), IsOk());
  EXPECT_THAT(future.Take(), IsOkAndHolds(3));
  const auto failed = NewState<int>();
  failed->Set(absl::NotFoundError("none"));
  EXPECT_THAT(Future<int>(failed).Error(),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(FutureTest, RunsUntilTheEndAtMost) {
  bool at_it = false;
  const auto state = std::make_shared<internal::FutureState<int>>(
      nullptr, [&at_it] { return at_it; });
  const Future<int> future(state);
  EXPECT_FALSE(future.running());
  at_it = true;
  EXPECT_TRUE(future.running());
  EXPECT_FALSE(future.done());
  state->Set(1);
  EXPECT_FALSE(future.running());
  EXPECT_TRUE(future.ready());
}

TEST(FutureTest, CallbackThatThrowsCostsNobodyAnything) {
  const auto state = NewState<int>();
  const Future<int> future(state);
  bool called = false;
  future.OnDone([](const Future<int>&) { throw std::runtime_error("oops"); });
  future.OnDone([&](const Future<int>&) { called = true; });
  ::testing::internal::CaptureStderr();
  state->Set(3);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("oops"));
  EXPECT_TRUE(called);
  EXPECT_THAT(future.Get(), IsOkAndHolds(3));
}

TEST(FutureTest, CancelAsksOnce) {
  int asked = 0;
  const auto state =
      std::make_shared<internal::FutureState<int>>([&] { ++asked; });
  const Future<int> future(state);
  future.Cancel();
  future.Cancel();
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE(future.cancelled());
  state->Set(absl::CancelledError("given up"));
  EXPECT_TRUE(future.cancelled());
}

TEST(FutureTest, CancelOfOneThatHasEndedIsNothing) {
  int asked = 0;
  const auto state =
      std::make_shared<internal::FutureState<int>>([&] { ++asked; });
  state->Set(1);
  Future<int>(state).Cancel();
  EXPECT_EQ(asked, 0);
}

class WaitFuturesTest : public ::testing::Test {
 protected:
  WaitFuturesTest() {
    for (int i = 0; i < 3; ++i) {
      states_.push_back(NewState<int>());
      futures_.emplace_back(states_.back());
    }
  }

  std::vector<std::shared_ptr<internal::FutureState<int>>> states_;
  std::vector<Future<int>> futures_;
};

TEST_F(WaitFuturesTest, WaitReturnsThoseThatAreDoneInTime) {
  states_[1]->Set(1);
  EXPECT_THAT(Wait(futures_, absl::ZeroDuration()), ElementsAre(1));
}

TEST_F(WaitFuturesTest, WaitsForAll) {
  std::thread setter([&] {
    for (const auto& state : states_) state->Set(1);
  });
  EXPECT_THAT(Wait(futures_), ElementsAre(0, 1, 2));
  setter.join();
}

TEST_F(WaitFuturesTest, WaitsForTheFirst) {
  states_[2]->Set(1);
  EXPECT_THAT(
      Wait(futures_, absl::InfiniteDuration(), ReturnWhen::kFirstCompleted),
      ElementsAre(2));
}

TEST_F(WaitFuturesTest, WaitsForTheFirstError) {
  states_[0]->Set(1);
  states_[2]->Set(absl::InternalError("no"));
  EXPECT_THAT(Wait(futures_, absl::InfiniteDuration(), ReturnWhen::kFirstError),
              ElementsAre(0, 2));
}

TEST_F(WaitFuturesTest, WaitLeavesOutThoseOfNoTask) {
  futures_.emplace_back();
  for (const auto& state : states_) state->Set(1);
  EXPECT_THAT(Wait(futures_), ElementsAre(0, 1, 2));
}

TEST_F(WaitFuturesTest, AsCompletedGivesThemAsTheyEnd) {
  AsCompleted<int> completed(futures_);
  for (const int i : {2, 0, 1}) {
    states_[static_cast<size_t>(i)]->Set(i);
    ASSERT_TRUE(completed.HasNext());
    const absl::StatusOr<Future<int>> next = completed.Next();
    ASSERT_THAT(next, IsOk());
    EXPECT_THAT(next->Get(), IsOkAndHolds(i));
  }
  EXPECT_FALSE(completed.HasNext());
  EXPECT_THAT(completed.Next(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(WaitFuturesTest, WaitsNoLongerIfTheFirstErrorWasThereBefore) {
  states_[1]->Set(absl::InternalError("no"));
  EXPECT_THAT(Wait(futures_, absl::InfiniteDuration(), ReturnWhen::kFirstError),
              ElementsAre(1));
}

TEST_F(WaitFuturesTest, OneThatStandsThereTwiceIsGivenOnce) {
  futures_.push_back(futures_[1]);
  for (const auto& state : states_) state->Set(1);
  EXPECT_THAT(Wait(futures_), ElementsAre(0, 1, 2, 3));
  AsCompleted<int> completed(futures_);
  int given = 0;
  for (; completed.HasNext(); ++given) ASSERT_THAT(completed.Next(), IsOk());
  EXPECT_EQ(given, 3);
}

TEST_F(WaitFuturesTest, AsCompletedSaysHowManyAreMissing) {
  AsCompleted<int> completed(futures_, absl::Milliseconds(1));
  EXPECT_THAT(completed.Next(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("3 of 3 futures unfinished")));
  states_[0]->Set(1);
  AsCompleted<int> again(futures_, absl::ZeroDuration());
  EXPECT_THAT(again.Next(), IsOk()) << "those that are done need no time";
  EXPECT_THAT(again.Next(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                     HasSubstr("2 of 3 futures unfinished")));
}

TEST_F(WaitFuturesTest, ManyThreadsMayWaitForTheSame) {
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      if (Wait(futures_).size() == 3) ++woken;
    });
  }
  for (const auto& state : states_) state->Set(1);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken, 16);
}

}  // namespace
}  // namespace mp
