#include "mp/ipc/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::StatusIs;
using ::testing::_;
using ::testing::Optional;

// Between this process and one of each start method.
class PipeTest : public StartMethodTest {
 protected:
  PipeTest() {
    Run([] {});  // a fork server may start, and stays
    leak_check_.emplace();
  }

 private:
  std::optional<LeakCheck> leak_check_;
};
MP_INSTANTIATE_TEST_SUITE(PipeTest, AllStartMethods);

absl::Status Square(Connection connection) {
  while (true) {
    const absl::StatusOr<int> x = connection.Recv<int>(kLong);
    if (absl::IsOutOfRange(x.status())) return absl::OkStatus();
    MP_RETURN_IF_ERROR(x.status());
    MP_RETURN_IF_ERROR(connection.Send(*x * *x));
  }
}

TEST_P(PipeTest, ConnectsTwoProcesses) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Process process(options(), Square, std::move(ends->second));
  ASSERT_THAT(process.Start(), IsOk());
  for (int x : {3, 7}) {
    ASSERT_THAT(ends->first.Send(x), IsOk());
    EXPECT_THAT(ends->first.Recv<int>(kLong), IsOkAndHolds(x * x));
  }
  ends->first.Close();  // ends the process
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

TEST_P(PipeTest, EndOfTheProcessIsTheEndOfTheStream) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Process process(
      options(),
      [](Connection connection) { return connection.Send("last words"); },
      std::move(ends->second));
  ASSERT_THAT(process.Start(), IsOk());
  // The caller's copy of that end has gone with Start().
  EXPECT_THAT(ends->first.Recv<std::string>(kLong), IsOkAndHolds("last words"));
  EXPECT_THAT(ends->first.Recv<std::string>(kLong),
              StatusIs(absl::StatusCode::kOutOfRange, _));
  ASSERT_THAT(process.Join(kLong), IsOk());
}

// Receives a connection and writes to it.
absl::Status WriteToWhatComes(Connection outer) {
  MP_ASSIGN_OR_RETURN(Connection inner, outer.Recv<Connection>(kLong));
  return inner.Send("through the other");
}

TEST_P(PipeTest, ConnectionReachesARunningProcess) {
  auto outer = Pipe();
  auto inner = Pipe(/*duplex=*/false);
  ASSERT_THAT(outer, IsOk());
  ASSERT_THAT(inner, IsOk());
  Process process(options(), WriteToWhatComes, std::move(outer->second));
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(outer->first.Send(inner->second), IsOk());
  inner->second.Close();
  EXPECT_THAT(inner->first.Recv<std::string>(kLong),
              IsOkAndHolds("through the other"));
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(process.exitcode(), Optional(0));
}

// Starts a process that waits for a message that will not come.
void StartListener(StartMethod method, Connection to_test) {
  auto ends = Pipe();
  Process process(
      {.context = method},
      [](Connection from_starter, Connection to_test) {
        MP_CHECK_OK(to_test.Send("ready"));
        const absl::StatusOr<int> never = from_starter.Recv<int>();
        MP_CHECK_OK(to_test.Send(std::string(
            absl::IsOutOfRange(never.status()) ? "saw the end" : "?")));
      },
      std::move(ends->second), std::move(to_test));
  MP_CHECK_OK(process.Start());
  while (true) pause();
}

class PipeDeathTest : public ::testing::TestWithParam<StartMethod> {};

INSTANTIATE_TEST_SUITE_P(RealStartMethods, PipeDeathTest,
                         ::testing::Values(StartMethod::kForkServer,
                                           StartMethod::kFork,
                                           StartMethod::kSpawn),
                         [](const auto& info) {
                           return std::string(StartMethodName(info.param));
                         });

TEST_P(PipeDeathTest, ProcessSeesTheEndOfAParentThatIsKilled) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Process parent({.context = GetParam()}, StartListener, GetParam(),
                 std::move(ends->second));
  ASSERT_THAT(parent.Start(), IsOk());
  ASSERT_THAT(ends->first.Recv<std::string>(kLong), IsOkAndHolds("ready"));
  ASSERT_THAT(parent.Kill(), IsOk());
  ASSERT_THAT(parent.Join(kLong), IsOk());
  EXPECT_THAT(ends->first.Recv<std::string>(kLong),
              IsOkAndHolds("saw the end"));
}

TEST(PipeForkTest, ForkContextKeepsConnectionsOpen) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Process process(ForkContext(),
                  [&] { return ends->second.Send("inherited"); });
  ASSERT_THAT(process.Start(), IsOk());
  ASSERT_THAT(process.Join(kLong), IsOk());
  EXPECT_THAT(ends->first.Recv<std::string>(kLong), IsOkAndHolds("inherited"));
}

TEST(PipeLeakTest, EndsAreCloseOnExec) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  EXPECT_EQ(fcntl(ends->first.fileno(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(ends->second.fileno(), F_GETFD), FD_CLOEXEC);
}

}  // namespace
}  // namespace mp
