// What CPython's tests of its queues promise, for each start method.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/joinable_queue.h"
#include "mp/ipc/queue.h"
#include "mp/ipc/simple_queue.h"
#include "mp/process/context.h"
#include "mp/process/exit.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/process/serializer.h"
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
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr absl::StatusCode kFullOrEmpty = absl::StatusCode::kDeadlineExceeded;
constexpr absl::StatusCode kClosed = absl::StatusCode::kFailedPrecondition;

// Long enough to be seen by a clock.
constexpr absl::Duration kShort = absl::Milliseconds(120);

template <typename Q>
Q Make(const QueueOptions& options = {}) {
  absl::StatusOr<Q> queue = Q::Create(options);
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

class QueueConformanceTest : public StartMethodTest {
 protected:
  QueueConformanceTest() {
    Run([] {});  // a fork server may start, and stays
    leak_check_.emplace();
  }

 private:
  std::optional<LeakCheck> leak_check_;
};
MP_INSTANTIATE_TEST_SUITE(QueueConformanceTest, AllStartMethods);

// ---- _TestQueue.test_put

absl::Status TakeSix(Queue<int> queue, Queue<bool> begin, Queue<bool> done) {
  MP_RETURN_IF_ERROR(begin.Get(kLong).status());
  for (int i = 1; i <= 6; ++i) {
    MP_ASSIGN_OR_RETURN(const int value, queue.Get(kLong));
    if (value != i) return absl::InternalError("not in order");
  }
  return done.Put(true, kLong);
}

// Returns how long it took to find the queue full.
absl::Duration TimeToBeFull(const Queue<int>& queue, absl::Duration timeout) {
  const absl::Time begin = absl::Now();
  EXPECT_THAT(queue.Put(7, timeout), StatusIs(kFullOrEmpty));
  return absl::Now() - begin;
}

TEST_P(QueueConformanceTest, PutFillsItUpToItsMaxsize) {
  const auto queue = Make<Queue<int>>({.maxsize = 6});
  const auto begin = Make<Queue<bool>>();
  const auto done = Make<Queue<bool>>();
  Process child(options(), TakeSix, queue, begin, done);
  ASSERT_THAT(child.Start(), IsOk());
  EXPECT_TRUE(queue.Empty());
  EXPECT_FALSE(queue.Full());
  ASSERT_THAT(queue.Put(1), IsOk());
  ASSERT_THAT(queue.Put(2, kLong), IsOk());
  ASSERT_THAT(queue.Put(3, absl::ZeroDuration()), IsOk());
  ASSERT_THAT(queue.PutNowait(4), IsOk());
  ASSERT_THAT(queue.Put(5, -absl::Seconds(1)), IsOk());
  EXPECT_FALSE(queue.Full());
  ASSERT_THAT(queue.PutNowait(6), IsOk());
  EXPECT_FALSE(queue.Empty());
  EXPECT_TRUE(queue.Full());
  EXPECT_THAT(queue.PutNowait(7), StatusIs(kFullOrEmpty));
  EXPECT_THAT(queue.Put(7, -absl::Seconds(1)), StatusIs(kFullOrEmpty));
  EXPECT_GE(TimeToBeFull(queue, kShort), kShort);
  ASSERT_THAT(begin.Put(true), IsOk());
  EXPECT_THAT(done.Get(kLong), IsOkAndHolds(true));
  EXPECT_TRUE(queue.Empty());
  EXPECT_FALSE(queue.Full());
  ASSERT_THAT(child.Join(kLong), IsOk());
  EXPECT_THAT(child.exitcode(), Optional(0));
}

// ---- test_get

absl::Status PutFour(Queue<int> queue, Queue<bool> done) {
  for (int i = 2; i <= 5; ++i) MP_RETURN_IF_ERROR(queue.Put(i));
  return done.Put(true);
}

TEST_P(QueueConformanceTest, GetEmptiesItInOrder) {
  const auto queue = Make<Queue<int>>();
  const auto done = Make<Queue<bool>>();
  EXPECT_EQ(Run(PutFour, queue, done), 0);
  ASSERT_THAT(done.Get(kLong), IsOkAndHolds(true));
  EXPECT_FALSE(queue.Empty());
  EXPECT_THAT(queue.Get(), IsOkAndHolds(2));
  EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(3));
  EXPECT_THAT(queue.Get(absl::ZeroDuration()), IsOkAndHolds(4));
  EXPECT_THAT(queue.GetNowait(), IsOkAndHolds(5));
  EXPECT_TRUE(queue.Empty());
  EXPECT_THAT(queue.GetNowait(), StatusIs(kFullOrEmpty));
  EXPECT_THAT(queue.Get(-absl::Seconds(1)), StatusIs(kFullOrEmpty));
  const absl::Time begin = absl::Now();
  EXPECT_THAT(queue.Get(kShort), StatusIs(kFullOrEmpty));
  EXPECT_GE(absl::Now() - begin, kShort);
}

// ---- test_fork

absl::Status PutTenToNineteen(Queue<int> queue) {
  for (int i = 10; i < 20; ++i) MP_RETURN_IF_ERROR(queue.Put(i));
  return absl::OkStatus();
}

TEST_P(QueueConformanceTest, WhatAProcessPutsComesAfterWhatItsParentHasPut) {
  const auto queue = Make<Queue<int>>();
  for (int i = 0; i < 10; ++i) ASSERT_THAT(queue.Put(i), IsOk());
  Process child(options(), PutTenToNineteen, queue);
  ASSERT_THAT(child.Start(), IsOk());
  for (int i = 0; i < 20; ++i) EXPECT_THAT(queue.Get(kLong), IsOkAndHolds(i));
  EXPECT_THAT(queue.GetNowait(), StatusIs(kFullOrEmpty));
  ASSERT_THAT(child.Join(kLong), IsOk());
}

// ---- test_qsize

TEST_P(QueueConformanceTest, SizeFollowsPutAndGet) {
  const auto queue = Make<Queue<int>>();
  EXPECT_EQ(queue.Size(), 0u);
  ASSERT_THAT(queue.Put(1), IsOk());
  EXPECT_EQ(queue.Size(), 1u);
  EXPECT_EQ(Run([](Queue<int> queue) { return queue.Put(5); }, queue), 0);
  EXPECT_EQ(queue.Size(), 2u);
  EXPECT_THAT(queue.Get(), IsOk());
  EXPECT_EQ(Run([](Queue<int> queue) { return queue.Get().status(); }, queue),
            0);
  EXPECT_EQ(queue.Size(), 0u);
}

// ---- test_task_done

absl::Status DoTasks(JoinableQueue<int> queue, Queue<int> dealt_with) {
  while (true) {
    const absl::StatusOr<int> task = queue.Get(kLong);
    if (absl::IsOutOfRange(task.status())) return absl::OkStatus();
    MP_RETURN_IF_ERROR(task.status());
    MP_RETURN_IF_ERROR(dealt_with.Put(*task));
    MP_RETURN_IF_ERROR(queue.TaskDone());
  }
}

TEST_P(QueueConformanceTest, JoinWaitsForAllTasks) {
  const auto queue = Make<JoinableQueue<int>>();
  const auto dealt_with = Make<Queue<int>>();
  std::vector<Process> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back(options(), DoTasks, queue, dealt_with);
    ASSERT_THAT(workers.back().Start(), IsOk());
  }
  for (int i = 0; i < 10; ++i) ASSERT_THAT(queue.Put(i), IsOk());
  ASSERT_THAT(queue.Join(kLong), IsOk());
  EXPECT_EQ(dealt_with.Size(), 10u);
  ASSERT_THAT(queue.Shutdown(), IsOk());
  for (Process& worker : workers) {
    ASSERT_THAT(worker.Join(kLong), IsOk());
    EXPECT_THAT(worker.exitcode(), Optional(0));
  }
}

// ---- test_timeout

TEST_P(QueueConformanceTest, GetWaitsAtLeastItsTimeout) {
  const auto queue = Make<Queue<int>>();
  EXPECT_EQ(Run(
                [](Queue<int> queue) {
                  const absl::Time begin = absl::Now();
                  const absl::Status status = queue.Get(kShort).status();
                  if (absl::Now() - begin < kShort) Exit(1);
                  if (!absl::IsDeadlineExceeded(status)) Exit(2);
                },
                queue),
            0);
}

// ---- test_queue_feeder_donot_stop_onexc

// Refuses to travel, if it is told to.
struct Picky {
  bool refuses = false;
};

}  // namespace

template <>
struct Serializer<Picky> {
  static void Encode(const Picky& picky, Encoder& encoder) {
    if (picky.refuses) encoder.Fail(absl::InvalidArgumentError("not me"));
    encoder.Write(picky.refuses);
  }
  static absl::StatusOr<Picky> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const bool refuses, decoder.Read<bool>());
    return Picky{refuses};
  }
};

namespace {

TEST_P(QueueConformanceTest, WhatCannotTravelIsRefusedAndTakesNoRoom) {
  const auto queue = Make<Queue<Picky>>({.maxsize = 1});
  const auto put = [](Queue<Picky> queue) {
    const absl::Status status = queue.Put({.refuses = true}, kLong);
    if (!absl::IsInvalidArgument(status)) Exit(1);
    return queue.Put({.refuses = false}, kLong);
  };
  EXPECT_EQ(Run(put, queue), 0);
  EXPECT_EQ(queue.Size(), 1u);
  ASSERT_THAT(queue.Get(kLong), IsOk());
  EXPECT_TRUE(queue.Empty());
}

// ---- test_closed_queue_put_get_exceptions

template <typename Q>
void UseClosed(Q queue) {
  queue.Close();
  queue.Close();
  if (queue.Put(1).code() != kClosed) Exit(1);
  if (queue.Get().status().code() != kClosed) Exit(2);
}

TEST_P(QueueConformanceTest, ClosedHandleNeitherPutsNorGets) {
  const auto queue = Make<Queue<int>>();
  EXPECT_EQ(Run(UseClosed<Queue<int>>, queue), 0);
  EXPECT_EQ(Run(UseClosed<JoinableQueue<int>>, Make<JoinableQueue<int>>()), 0);
  EXPECT_THAT(queue.Put(1), IsOk());
}

// ---- TestSimpleQueue.test_empty

absl::Status PutTrueThenFalse(SimpleQueue<bool> queue, Queue<int> child_can,
                              Queue<int> parent_can) {
  MP_RETURN_IF_ERROR(child_can.Get(kLong).status());
  MP_RETURN_IF_ERROR(queue.Put(true));
  MP_RETURN_IF_ERROR(queue.Put(false));
  return parent_can.Put(0);
}

TEST_P(QueueConformanceTest, SimpleQueueIsEmptyUntilSomethingIsPut) {
  absl::StatusOr<SimpleQueue<bool>> queue = SimpleQueue<bool>::Create();
  ASSERT_THAT(queue, IsOk());
  const auto child_can = Make<Queue<int>>();
  const auto parent_can = Make<Queue<int>>();
  Process child(options(), PutTrueThenFalse, *queue, child_can, parent_can);
  ASSERT_THAT(child.Start(), IsOk());
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(true));
  ASSERT_THAT(child_can.Put(0), IsOk());
  ASSERT_THAT(parent_can.Get(kLong), IsOk());
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(false));
  EXPECT_THAT(queue->Get(), IsOkAndHolds(true));
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(false));
  EXPECT_THAT(queue->Get(), IsOkAndHolds(false));
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(true));
  ASSERT_THAT(child.Join(kLong), IsOk());
}

// ---- TestStdinBadfiledescriptor.test_queue_in_process

TEST_P(QueueConformanceTest, ProcessHasQueuesAndProcessesOfItsOwn) {
  const auto parent = [](StartMethod method) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto queue, Queue<std::string>::Create());
    Process child(
        {.context = method},
        [](Queue<std::string> queue) { return queue.Put("nested"); }, queue);
    MP_RETURN_IF_ERROR(child.Start());
    MP_ASSIGN_OR_RETURN(const std::string text, queue.Get(kLong));
    MP_RETURN_IF_ERROR(child.Join(kLong));
    if (text != "nested") Exit(1);
    return absl::OkStatus();
  };
  EXPECT_EQ(Run(parent, GetParam()), 0);
}

// ---- What the documentation of CPython warns of: "Joining processes that use
// queues". There, this is a deadlock.

TEST_P(QueueConformanceTest, ProcessThatHasPutMuchCanBeJoinedFirst) {
  const auto queue = Make<Queue<std::string>>();
  const auto put = [](Queue<std::string> queue) -> absl::Status {
    for (int i = 0; i < 64; ++i) {
      MP_RETURN_IF_ERROR(queue.Put(std::string(64 << 10, 'a' + i % 26)));
    }
    return queue.Put(std::string(3 << 20, 'z'));
  };
  EXPECT_EQ(Run(put, queue), 0);
  EXPECT_EQ(queue.Size(), 65u);
  for (int i = 0; i < 64; ++i) {
    EXPECT_THAT(queue.GetNowait(),
                IsOkAndHolds(std::string(64 << 10, 'a' + i % 26)));
  }
  EXPECT_THAT(queue.GetNowait(), IsOkAndHolds(std::string(3 << 20, 'z')));
}

// ---- Beyond CPython

TEST_P(QueueConformanceTest, ShutdownIsSeenByAll) {
  const auto queue = Make<Queue<int>>();
  const auto got = Make<Queue<int>>();
  Process child(
      options(),
      [](Queue<int> queue, Queue<int> got) -> absl::Status {
        while (true) {
          const absl::StatusOr<int> value = queue.Get(kLong);
          if (absl::IsOutOfRange(value.status())) break;
          MP_RETURN_IF_ERROR(value.status());
          MP_RETURN_IF_ERROR(got.Put(*value));
        }
        return queue.Put(1).code() == kClosed
                   ? absl::OkStatus()
                   : absl::InternalError("still open");
      },
      queue, got);
  ASSERT_THAT(child.Start(), IsOk());
  ASSERT_THAT(queue.Put(7), IsOk());
  ASSERT_THAT(got.Get(kLong), IsOkAndHolds(7));
  ASSERT_THAT(queue.Shutdown(), IsOk());
  ASSERT_THAT(child.Join(kLong), IsOk());
  EXPECT_THAT(child.exitcode(), Optional(0));
  EXPECT_THAT(queue.Put(8), StatusIs(kClosed));
}

// Adds up what it gets.
absl::Status AddUp(Queue<int> numbers, Queue<int64_t> sums) {
  int64_t sum = 0;
  while (true) {
    const absl::StatusOr<int> number = numbers.Get(kLong);
    if (absl::IsOutOfRange(number.status())) return sums.Put(sum);
    MP_RETURN_IF_ERROR(number.status());
    sum += *number;
  }
}

absl::Status PutOneTo(int last, Queue<int> numbers) {
  for (int i = 1; i <= last; ++i) MP_RETURN_IF_ERROR(numbers.Put(i, kLong));
  return absl::OkStatus();
}

TEST_P(QueueConformanceTest, EachValueGoesToOneOfThoseThatGet) {
  const auto numbers = Make<Queue<int>>({.maxsize = 5});
  const auto sums = Make<Queue<int64_t>>();
  std::vector<Process> producers;
  std::vector<Process> consumers;
  for (int i = 0; i < 3; ++i) {
    producers.emplace_back(options(), PutOneTo, 200, numbers);
    consumers.emplace_back(options(), AddUp, numbers, sums);
    ASSERT_THAT(producers.back().Start(), IsOk());
    ASSERT_THAT(consumers.back().Start(), IsOk());
  }
  for (Process& producer : producers) {
    ASSERT_THAT(producer.Join(kLong), IsOk());
    EXPECT_THAT(producer.exitcode(), Optional(0));
  }
  ASSERT_THAT(numbers.Shutdown(), IsOk());
  int64_t sum = 0;
  for (Process& consumer : consumers) {
    absl::StatusOr<int64_t> part = sums.Get(kLong);
    ASSERT_THAT(part, IsOk());
    sum += *part;
    ASSERT_THAT(consumer.Join(kLong), IsOk());
  }
  EXPECT_EQ(sum, 3 * 200 * 201 / 2);
}

// ---- Those that say the same for every start method

// TestSimpleQueue.test_close, test_empty_exceptions
TEST(SimpleQueueConformanceTest, ClosedOneSaysSo) {
  absl::StatusOr<SimpleQueue<int>> queue = SimpleQueue<int>::Create();
  ASSERT_THAT(queue, IsOk());
  queue->Close();
  queue->Close();
  EXPECT_THAT(queue->Empty(), StatusIs(kClosed, HasSubstr("closed")));
  EXPECT_THAT(queue->Put(1), StatusIs(kClosed));
  EXPECT_THAT(queue->Get(), StatusIs(kClosed));
}

}  // namespace
}  // namespace mp
