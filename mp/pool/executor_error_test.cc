// What cannot be written or read, in each place: its own status for its own
// call, and no worker is lost.

#include <signal.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/executor.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/executor_test_fixture.h"
#include "mp/pool/internal/tricky_value.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllStartMethods;
using ::mp::internal::ExecutorTestFixture;
using ::mp::internal::kLong;
using ::mp::internal::Trick;
using ::mp::internal::TrickyValue;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

int Square(int x) { return x * x; }
pid_t Pid() { return getpid(); }
void Take(const TrickyValue&) {}
TrickyValue Give(Trick at_encode, Trick at_decode) {
  return {.at_encode = at_encode, .at_decode = at_decode};
}

class ExecutorErrorTest : public ExecutorTestFixture {
 protected:
  // Has many calls fail, by an error and by an exception; then all is well, and
  // the worker is the same.
  template <typename SubmitVictim>
  void ExpectOnlyTheVictimsFail(const std::string& what,
                                SubmitVictim submit_victim) {
    auto executor = MakeExecutor({.max_workers = 1});
    ASSERT_THAT(executor, IsOk());
    const Future<pid_t> pid = executor->Submit(Pid);
    for (int i = 0; i < 20; ++i) {
      EXPECT_THAT(submit_victim(*executor, Trick::kError).Error(kLong),
                  StatusIs(absl::StatusCode::kDataLoss,
                           AllOf(HasSubstr(what), HasSubstr("tricky"))));
      EXPECT_THAT(submit_victim(*executor, Trick::kThrow).Error(kLong),
                  StatusIs(absl::StatusCode::kUnknown,
                           AllOf(HasSubstr(what), HasSubstr("tricky"))));
    }
    EXPECT_THAT(executor->Submit(Square, 3).Get(kLong), IsOkAndHolds(9));
    EXPECT_EQ(*executor->Submit(Pid).Get(kLong), *pid.Get(kLong));
    EXPECT_THAT(executor->Shutdown({.timeout = kLong}), IsOk());
  }
};
MP_INSTANTIATE_TEST_SUITE(ExecutorErrorTest, AllStartMethods);

TEST_P(ExecutorErrorTest, ArgumentThatCannotBeWritten) {
  ExpectOnlyTheVictimsFail(
      "the arguments cannot be sent", [](Executor& executor, Trick trick) {
        return executor.Submit(Take, TrickyValue{.at_encode = trick});
      });
}

TEST_P(ExecutorErrorTest, ArgumentThatCannotBeRead) {
  ExpectOnlyTheVictimsFail("the worker cannot read the arguments",
                           [](Executor& executor, Trick trick) {
                             return executor.Submit(
                                 Take, TrickyValue{.at_decode = trick});
                           });
}

TEST_P(ExecutorErrorTest, ResultThatCannotBeWritten) {
  ExpectOnlyTheVictimsFail("the result cannot be sent",
                           [](Executor& executor, Trick trick) {
                             return executor.Submit(Give, trick, Trick::kNone);
                           });
}

TEST_P(ExecutorErrorTest, ResultThatCannotBeRead) {
  ExpectOnlyTheVictimsFail("the result cannot be read",
                           [](Executor& executor, Trick trick) {
                             return executor.Submit(Give, Trick::kNone, trick);
                           });
}

TEST_P(ExecutorErrorTest, MapGivesTheErrorInItsPlace) {
  auto executor = MakeExecutor();
  ASSERT_THAT(executor, IsOk());
  for (const bool at_encode : {true, false}) {
    std::vector<TrickyValue> values(5);
    (at_encode ? values[2].at_encode : values[2].at_decode) = Trick::kError;
    auto results = executor->Map(Take, values);
    for (int i = 0; i < 5; ++i) {
      const auto result = results.Next(kLong);
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(result->code(),
                i == 2 ? absl::StatusCode::kDataLoss : absl::StatusCode::kOk)
          << i << ": " << *result;
    }
  }
}

}  // namespace
}  // namespace mp
