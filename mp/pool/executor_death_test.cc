// A worker that dies in every place: while it reads arguments, runs, writes the
// result or sends it; in the initializer; under a callback; at shutdown. Each
// future ends with its own status, the executor goes on, and its shutdown never
// hangs.
//
// Source: CPython Lib/test/test_concurrent_futures/test_deadlock.py, where the
// same breaks the executor.

#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/pool/executor.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/executor_test_fixture.h"
#include "mp/pool/internal/tricky_value.h"
#include "mp/pool/pool_options.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/serializer.h"
#include "mp/sync/event.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::ExecutorTestFixture;
using ::mp::internal::kLong;
using ::mp::internal::Play;
using ::mp::internal::RealStartMethods;
using ::mp::internal::Trick;
using ::mp::internal::TrickyValue;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;

int Square(int x) { return x * x; }
pid_t Pid() { return getpid(); }
void Take(const TrickyValue&) {}
void PlayVoid(Trick trick) { Play(trick).IgnoreError(); }
TrickyValue Give(Trick at_encode) { return {.at_encode = at_encode}; }
void TakeText(const std::string&, Trick trick) { Play(trick).IgnoreError(); }
int TakeNumber(int x, const TrickyValue&) { return x; }

// A function that kills who reads it.
struct TrickyFunction {
  TrickyValue value;
  int operator()(int x) const { return x; }
};

// A large result, and a death that comes soon: before it has gone, while it
// goes, or after that.
std::string GiveAndDie(size_t bytes, absl::Duration delay) {
  std::thread([delay] {
    absl::SleepFor(delay);
    raise(SIGKILL);
  }).detach();
  return std::string(bytes, 'x');
}

}  // namespace

template <>
struct Serializer<TrickyFunction> {
  static void Encode(const TrickyFunction& function, Encoder& encoder) {
    encoder.Write(function.value);
  }
  static absl::StatusOr<TrickyFunction> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(TrickyValue value, decoder.Read<TrickyValue>());
    return TrickyFunction{value};
  }
};

namespace {

class ExecutorDeathTest : public ExecutorTestFixture {
 protected:
  // Has a call fail amidst others, once by each death.
  template <typename SubmitVictim>
  void ExpectOnlyTheVictimFails(SubmitVictim submit_victim) {
    const std::pair<Trick, const char*> deaths[] = {{Trick::kExit, "7"},
                                                    {Trick::kKill, "SIGKILL"}};
    for (const auto& [death, how] : deaths) {
      SCOPED_TRACE(how);
      auto executor = MakeExecutor();
      ASSERT_THAT(executor, IsOk());
      std::vector<Future<int>> others;
      for (int i = 0; i < 5; ++i) others.push_back(executor->Submit(Square, i));
      const auto victim = submit_victim(*executor, death);
      for (int i = 5; i < 9; ++i) others.push_back(executor->Submit(Square, i));
      EXPECT_THAT(victim.Error(kLong),
                  StatusIs(absl::StatusCode::kUnavailable, HasSubstr(how)));
      for (int i = 0; i < 9; ++i) {
        EXPECT_THAT(others[static_cast<size_t>(i)].Get(kLong),
                    IsOkAndHolds(i * i));
      }
      EXPECT_THAT(executor->Submit(Square, 9).Get(kLong), IsOkAndHolds(81));
      EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
    }
  }
};
MP_INSTANTIATE_TEST_SUITE(ExecutorDeathTest, RealStartMethods);

TEST_P(ExecutorDeathTest, WhileItReadsTheArguments) {
  ExpectOnlyTheVictimFails([](Executor& executor, Trick death) {
    return executor.Submit(Take, TrickyValue{.at_decode = death});
  });
}

TEST_P(ExecutorDeathTest, WhileItReadsTheFunction) {
  ExpectOnlyTheVictimFails([](Executor& executor, Trick death) {
    return executor.Submit(TrickyFunction{{.at_decode = death}}, 1);
  });
}

TEST_P(ExecutorDeathTest, WhileItRuns) {
  ExpectOnlyTheVictimFails([](Executor& executor, Trick death) {
    return executor.Submit(PlayVoid, death);
  });
}

TEST_P(ExecutorDeathTest, WhileItWritesTheResult) {
  ExpectOnlyTheVictimFails([](Executor& executor, Trick death) {
    return executor.Submit(Give, death);
  });
}

TEST_P(ExecutorDeathTest, WithLargeArgumentsInFlight) {
  const std::string large(
      static_cast<size_t>(testing::Scaled(/*usual=*/20, /*full=*/100)) << 20,
      'x');
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  const Future<void> victim = executor->Submit(TakeText, large, Trick::kKill);
  const Future<void> other = executor->Submit(TakeText, large, Trick::kNone);
  EXPECT_THAT(victim.Get(kLong), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(other.Get(kLong), IsOk());
}

TEST_P(ExecutorDeathTest, WhileItSendsTheResult) {
  constexpr size_t kBytes = size_t{4} << 20;
  auto executor = MakeExecutor({.max_workers = 1});
  ASSERT_THAT(executor, IsOk());
  int lost = 0;
  for (int round = 0; round < 8; ++round) {
    const absl::Duration delay = absl::Milliseconds(1) * round;
    const auto result = executor->Submit(GiveAndDie, kBytes, delay).Take(kLong);
    if (result.ok()) {
      EXPECT_TRUE(*result == std::string(kBytes, 'x')) << round;
    } else {
      ++lost;
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnavailable,
                                   HasSubstr("SIGKILL")));
    }
    EXPECT_THAT(executor->Submit({.retries = 1}, Square, round).Get(kLong),
                IsOkAndHolds(round * round));
  }
  EXPECT_GE(lost, 1);
}

TEST_P(ExecutorDeathTest, InAChunkCostsNothingElse) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  std::vector<int> numbers;
  std::vector<TrickyValue> values(12);
  for (int i = 0; i < 12; ++i) numbers.push_back(i);
  values[5].at_decode = Trick::kKill;
  auto results =
      executor->Map({.task = {.chunk_size = 4}}, TakeNumber, numbers, values);
  for (int i = 0; i < 12; ++i) {
    const auto result = results.Next(kLong);
    ASSERT_TRUE(result.has_value());
    if (i == 5) {
      EXPECT_THAT(*result, StatusIs(absl::StatusCode::kUnavailable)) << i;
    } else {
      EXPECT_THAT(*result, IsOkAndHolds(i));
    }
  }
}

TEST_P(ExecutorDeathTest, InTheInitializerBreaksIt) {
  for (const Trick death : {Trick::kExit, Trick::kKill}) {
    auto executor =
        MakeExecutor({.initializer = PoolInitializer(PlayVoid, death)});
    ASSERT_THAT(executor, IsOk());
    const auto is_broken =
        StatusIs(absl::StatusCode::kUnavailable,
                 HasSubstr(death == Trick::kExit ? "7" : "SIGKILL"));
    EXPECT_THAT(executor->Submit(Square, 1).Get(kLong), is_broken);
    EXPECT_THAT(executor->Submit(Square, 1).Get(kLong), is_broken);
    EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  }
}

TEST_P(ExecutorDeathTest, UnderACallback) {
  auto executor = MakeExecutor({.max_workers = 1});
  ASSERT_THAT(executor, IsOk());
  const Future<pid_t> pid = executor->Submit(Pid);
  absl::Notification killed;
  pid.OnDone([&](const Future<pid_t>& done) {
    kill(*done.Get(), SIGKILL);
    killed.Notify();
  });
  EXPECT_TRUE(killed.WaitForNotificationWithTimeout(kLong));
  EXPECT_THAT(executor->Submit({.retries = 1}, Square, 3).Get(kLong),
              IsOkAndHolds(9));
  EXPECT_NE(*executor->Submit(Pid).Get(kLong), *pid.Get());
}

TEST_P(ExecutorDeathTest, CallbackOfALostCallHearsOfIt) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  absl::Notification heard;
  absl::Status error;
  executor->Submit(PlayVoid, Trick::kKill).OnError([&](absl::Status status) {
    error = std::move(status);
    heard.Notify();
  });
  ASSERT_TRUE(heard.WaitForNotificationWithTimeout(kLong));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kUnavailable));
}

TEST_P(ExecutorDeathTest, AtShutdown) {
  for (const bool wait : {true, false}) {
    for (const Trick death : {Trick::kExit, Trick::kKill, Trick::kThrow}) {
      auto executor = MakeExecutor();
      ASSERT_THAT(executor, IsOk());
      const Future<void> victim = executor->Submit(PlayVoid, death);
      const Future<int> other = executor->Submit(Square, 2);
      EXPECT_THAT(executor->Shutdown({.wait = wait, .timeout = kLong}), IsOk());
      EXPECT_FALSE(victim.Error(kLong).ok());
      EXPECT_THAT(other.Get(kLong), IsOkAndHolds(4));
    }
  }
}

TEST_P(ExecutorDeathTest, OfAllWorkersWhileShutdownWaits) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  Event never = *Event::Create();
  std::vector<Future<pid_t>> pids = {executor->Submit(Pid)};
  const pid_t pid = pids[0].Get(kLong).value();
  const Future<void> victim =
      executor->Submit([](Event event) { event.Wait().IgnoreError(); }, never);
  const absl::Time end = absl::Now() + kLong;
  while (!victim.running() && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  std::thread killer([pid] {
    absl::SleepFor(absl::Milliseconds(20));
    kill(pid, SIGKILL);
  });
  EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  killer.join();
  EXPECT_THAT(victim.Get(kLong), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace mp
