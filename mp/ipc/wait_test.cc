#include "mp/ipc/wait.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/signal_storm.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kShort = absl::Milliseconds(20);

// Raises the limit of descriptors as far as it goes, for this object's life.
class ManyDescriptors {
 public:
  ManyDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit raised = {before_.rlim_max, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &raised);
  }
  ~ManyDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

  bool Allows(rlim_t count) const { return before_.rlim_max >= count; }

 private:
  rlimit before_;
};

class WaitTest : public ::testing::Test {
 protected:
  WaitTest() {
    for (int i = 0; i < 3; ++i) {
      auto ends = Pipe();
      MP_CHECK_OK(ends);
      here_.push_back(std::move(ends->first));
      there_.push_back(std::move(ends->second));
    }
  }

  std::vector<WaitItem> All() const { return {here_[0], here_[1], here_[2]}; }

  std::vector<Connection> here_;
  std::vector<Connection> there_;
};

TEST_F(WaitTest, GivesTheReadyOnesInTheirOrder) {
  ASSERT_THAT(there_[2].Send(1), IsOk());
  EXPECT_THAT(Wait(All(), kLong), IsOkAndHolds(ElementsAre(2)));
  ASSERT_THAT(there_[0].Send(1), IsOk());
  EXPECT_THAT(Wait(All()), IsOkAndHolds(ElementsAre(0, 2)));
  EXPECT_THAT(Wait({here_[2], here_[1], here_[0]}),
              IsOkAndHolds(ElementsAre(0, 2)));
  // It takes nothing.
  EXPECT_THAT(here_[2].Recv<int>(), IsOkAndHolds(1));
  EXPECT_THAT(Wait(All()), IsOkAndHolds(ElementsAre(0)));
}

// CPython: test_neg_timeout
TEST_F(WaitTest, WaitsForItsTimeAndGivesNone) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(Wait(All(), kShort), IsOkAndHolds(IsEmpty()));
  EXPECT_GE(absl::Now() - start, kShort);
  EXPECT_THAT(Wait(All(), absl::ZeroDuration()), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(Wait(All(), absl::Seconds(-1)), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(Wait(All(), -absl::InfiniteDuration()), IsOkAndHolds(IsEmpty()));
}

TEST_F(WaitTest, NothingToWaitForNeedsAnEnd) {
  EXPECT_THAT(Wait({}, kShort), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(Wait({}), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("nothing to wait for")));
}

TEST_F(WaitTest, EndOfTheOtherSideIsReady) {
  there_[1].Close();
  EXPECT_THAT(Wait(All(), kLong), IsOkAndHolds(ElementsAre(1)));
}

TEST_F(WaitTest, SameItemMayBeThereTwice) {
  ASSERT_THAT(there_[0].SendBytes(""), IsOk());
  EXPECT_THAT(Wait({here_[0], here_[1], here_[0]}, kLong),
              IsOkAndHolds(ElementsAre(0, 2)));
}

TEST_F(WaitTest, ClosedItemsAreNamed) {
  here_[1].Close();
  EXPECT_THAT(Wait(All(), kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("item 1 is closed")));
  EXPECT_THAT(Wait({-7}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("-7")));
  EXPECT_THAT(Wait({here_[0], 1 << 20}, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("item 1"), HasSubstr("1048576"))));
}

// CPython: test_wait_socket
TEST_F(WaitTest, TakesBareDescriptorsOfEveryKind) {
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const Fd reader(pipe_ends[0]);
  Fd writer(pipe_ends[1]);
  int socket_ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket_ends), 0);
  const Fd a(socket_ends[0]);
  const Fd b(socket_ends[1]);
  EXPECT_THAT(Wait({reader.get(), a.get(), here_[0]}, kShort),
              IsOkAndHolds(IsEmpty()));
  ASSERT_THAT(WriteAll(b.get(), "x"), IsOk());
  EXPECT_THAT(Wait({reader.get(), a.get(), here_[0]}, kLong),
              IsOkAndHolds(ElementsAre(1)));
  writer.Close();
  EXPECT_THAT(Wait({reader.get(), a.get(), here_[0]}, kLong),
              IsOkAndHolds(ElementsAre(0, 1)));
}

TEST_F(WaitTest, AsksAgainWhatItsDescriptorDoesNotTell) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  const Fd writer(ends[1]);
  struct Silent {
    int fileno() const { return fd; }
    bool IsReadable() const { return ++*asked > 3; }
    int fd;
    int* asked;
  };
  int asked = 0;
  const Silent silent = {reader.get(), &asked};
  EXPECT_THAT(Wait({here_[0], silent}, kLong), IsOkAndHolds(ElementsAre(1)));
  EXPECT_EQ(asked, 4);
}

TEST_F(WaitTest, AsksOnceWhatCannotChangeMeanwhile) {
  struct Buffered {
    int fileno() const { return fd; }
    bool IsReadyNow() const { return is_ready; }
    int fd;
    bool is_ready;
  };
  const int fd = here_[0].fileno();
  EXPECT_THAT(Wait({here_[1], Buffered{fd, true}}),
              IsOkAndHolds(ElementsAre(1)));
  EXPECT_THAT(Wait({Buffered{fd, false}}, kShort), IsOkAndHolds(IsEmpty()));
  // One that is ready in both ways counts once, and others count as well.
  ASSERT_THAT(there_[0].Send(1), IsOk());
  ASSERT_THAT(there_[1].Send(1), IsOk());
  EXPECT_THAT(Wait({here_[1], Buffered{fd, true}}),
              IsOkAndHolds(ElementsAre(0, 1)));
}

TEST_F(WaitTest, SignalsDoNotEndIt) {
  testing::SignalStorm storm;
  const absl::Time start = absl::Now();
  EXPECT_THAT(Wait(All(), absl::Milliseconds(100)), IsOkAndHolds(IsEmpty()));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(100));
}

TEST_F(WaitTest, TenThousandItemsAndNumbersAboveFdSetsize) {
  constexpr int kCount = 10'000;
  const ManyDescriptors raised;
  if (!raised.Allows(kCount + 100)) GTEST_SKIP() << "ulimit -Hn is too low";
  std::vector<Fd> fds;
  std::vector<WaitItem> items;
  for (int i = 0; i < kCount; ++i) {
    fds.push_back(*Fd::DupOf(here_[i % 2].fileno()));
    items.push_back(fds.back().get());
  }
  EXPECT_THAT(Wait(items, kShort), IsOkAndHolds(IsEmpty()));
  ASSERT_THAT(there_[1].Send(1), IsOk());
  const auto ready = Wait(items, kLong);
  ASSERT_THAT(ready, IsOkAndHolds(SizeIs(kCount / 2)));
  for (int i = 0; i < kCount / 2; ++i) ASSERT_EQ((*ready)[i], 2 * i + 1);
}

TEST_F(WaitTest, MoreItemsThanDescriptorsAreAllowedIsSaidSo) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit lowered = {100, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
  const std::vector<WaitItem> items(101, here_[0]);
  const auto ready = Wait(items, kShort);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_THAT(ready, StatusIs(absl::StatusCode::kResourceExhausted,
                              HasSubstr("101 items")));
}

TEST_F(WaitTest, PeerThatIsKilledMakesItsConnectionReady) {
  Child child = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(there_[1].Send("ready"));
    while (true) pause();
  });
  there_[1].Close();
  ASSERT_THAT(here_[1].Recv<std::string>(kLong), IsOk());
  EXPECT_THAT(Wait(All(), kShort), IsOkAndHolds(IsEmpty()));
  child.Kill(SIGKILL);
  EXPECT_THAT(Wait(All(), kLong), IsOkAndHolds(ElementsAre(1)));
}

class WaitProcessTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(WaitProcessTest, AllStartMethods);

absl::Status SendNumbers(Connection connection, int count) {
  for (int i = 0; i < count; ++i) MP_RETURN_IF_ERROR(connection.Send(i));
  return absl::OkStatus();
}

// CPython: test_wait, test_wait_slow
TEST_P(WaitProcessTest, TakesTurnsAtSeveralWriters) {
  constexpr int kWriters = 4;
  constexpr int kMessages = 10;
  std::vector<Connection> readers;
  std::vector<Process> processes;
  for (int i = 0; i < kWriters; ++i) {
    auto ends = Pipe(/*duplex=*/false);
    ASSERT_THAT(ends, IsOk());
    readers.push_back(std::move(ends->first));
    processes.emplace_back(options(), SendNumbers, std::move(ends->second),
                           kMessages);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  std::vector<int> next(kWriters, 0);
  int open = kWriters;
  while (open > 0) {
    std::vector<WaitItem> items;
    std::vector<int> whose;
    for (int i = 0; i < kWriters; ++i) {
      if (readers[i].closed()) continue;
      items.push_back(readers[i]);
      whose.push_back(i);
    }
    const auto ready = Wait(items, kLong);
    ASSERT_THAT(ready, IsOkAndHolds(::testing::Not(IsEmpty())));
    for (const size_t place : *ready) {
      const int i = whose[place];
      const absl::StatusOr<int> number = readers[i].Recv<int>(kLong);
      if (absl::IsOutOfRange(number.status())) {
        readers[i].Close();
        --open;
      } else {
        ASSERT_THAT(number, IsOkAndHolds(next[i]));
        ++next[i];
      }
    }
  }
  EXPECT_THAT(next, ::testing::Each(kMessages));
  for (Process& process : processes) {
    ASSERT_THAT(process.Join(kLong), IsOk());
  }
}

void AwaitEnd(Connection connection) { connection.Recv<int>().IgnoreError(); }

// CPython: test_wait_integer
TEST_P(WaitProcessTest, SentinelIsReadyAtTheEndOfItsProcess) {
  auto ends = Pipe();
  auto other = Pipe();
  ASSERT_THAT(ends, IsOk());
  ASSERT_THAT(other, IsOk());
  Process process(options(), AwaitEnd, std::move(ends->second));
  ASSERT_THAT(process.Start(), IsOk());
  const absl::StatusOr<int> sentinel = process.sentinel();
  ASSERT_THAT(sentinel, IsOk());
  EXPECT_THAT(Wait({other->first, *sentinel}, kShort), IsOkAndHolds(IsEmpty()));
  ASSERT_THAT(other->second.Send(1), IsOk());
  EXPECT_THAT(Wait({other->first, *sentinel}, kLong),
              IsOkAndHolds(ElementsAre(0)));
  ends->first.Close();
  ASSERT_THAT(Wait({*sentinel}, kLong), IsOkAndHolds(ElementsAre(0)));
  EXPECT_THAT(Wait({other->first, *sentinel}, kLong),
              IsOkAndHolds(ElementsAre(0, 1)));
  ASSERT_THAT(process.Join(kLong), IsOk());
}

}  // namespace
}  // namespace mp
