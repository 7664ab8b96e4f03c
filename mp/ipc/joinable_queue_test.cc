#include "mp/ipc/joinable_queue.h"

#include <signal.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::RealStartMethods;
using ::mp::internal::StartMethodTest;
using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;
using ::mp::testing::WasKilledBy;
using ::testing::HasSubstr;

JoinableQueue<int> Make() {
  absl::StatusOr<JoinableQueue<int>> queue = JoinableQueue<int>::Create();
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

class JoinableQueueTest : public ::testing::Test {
  LeakCheck leak_check_;
};

TEST_F(JoinableQueueTest, NothingToDoIsDone) {
  const JoinableQueue<int> queue = Make();
  EXPECT_THAT(queue.Join(), IsOk());
}

TEST_F(JoinableQueueTest, WhatIsTakenAndNotDoneIsWaitedFor) {
  const JoinableQueue<int> queue = Make();
  ASSERT_THAT(queue.Put(1), IsOk());
  EXPECT_THAT(queue.Join(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(queue.Get(), IsOkAndHolds(1));
  const absl::Time begin = absl::Now();
  EXPECT_THAT(queue.Join(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(50));
  ASSERT_THAT(queue.TaskDone(), IsOk());
  EXPECT_THAT(queue.Join(), IsOk());
}

TEST_F(JoinableQueueTest, DoneMoreOftenThanTakenIsRefused) {
  const JoinableQueue<int> queue = Make();
  EXPECT_THAT(queue.TaskDone(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(queue.Put(1), IsOk());
  ASSERT_THAT(queue.Get(), IsOk());
  EXPECT_THAT(queue.TaskDone(), IsOk());
  EXPECT_THAT(queue.TaskDone(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(JoinableQueueTest, JoinEndsWhenAnotherProcessIsDone) {
  const JoinableQueue<int> queue = Make();
  ASSERT_THAT(queue.Put(1), IsOk());
  Child joiner = RunInChild([&] { return queue.Join(kLong); });
  Child worker = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(queue.Get(kLong).status());
    return queue.TaskDone();
  });
  EXPECT_THAT(worker.Wait(), ExitedWith(0));
  EXPECT_THAT(joiner.Wait(), ExitedWith(0));
}

TEST_F(JoinableQueueTest, ClosedHandleSaysSo) {
  JoinableQueue<int> queue = Make();
  queue.Close();
  EXPECT_THAT(queue.TaskDone(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("JoinableQueue::TaskDone")));
  EXPECT_THAT(queue.Join(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     HasSubstr("JoinableQueue::Join")));
}

TEST_F(JoinableQueueTest, TasksOfADeadProcessAreToldAndCountAsDone) {
  const JoinableQueue<int> queue = Make();
  for (int i = 0; i < 3; ++i) ASSERT_THAT(queue.Put(i), IsOk());
  Child worker = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(queue.Get().status());
    MP_RETURN_IF_ERROR(queue.TaskDone());
    MP_RETURN_IF_ERROR(queue.Get().status());
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_THAT(worker.Wait(), WasKilledBy(SIGKILL));
  ASSERT_THAT(queue.Get(kLong), IsOkAndHolds(2));
  ASSERT_THAT(queue.TaskDone(), IsOk());
  EXPECT_THAT(queue.Join(kLong),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr(absl::StrCat(worker.pid()))));
  EXPECT_THAT(queue.Join(kLong), IsOk());
}

TEST_F(JoinableQueueTest, JoinLearnsOfADeathWhileItWaits) {
  const JoinableQueue<int> queue = Make();
  const absl::StatusOr<Queue<bool>> taken = Queue<bool>::Create();
  ASSERT_THAT(taken, IsOk());
  ASSERT_THAT(queue.Put(1), IsOk());
  Child worker = RunInChild([&]() -> absl::Status {
    MP_RETURN_IF_ERROR(queue.Get().status());
    MP_RETURN_IF_ERROR(taken->Put(true));
    while (true) pause();
  });
  ASSERT_THAT(taken->Get(kLong), IsOk());
  Child joiner = RunInChild([&] {
    return absl::IsAborted(queue.Join()) ? absl::OkStatus()
                                         : absl::InternalError("no word of it");
  });
  worker.Kill(SIGKILL);
  EXPECT_THAT(worker.Wait(), WasKilledBy(SIGKILL));
  EXPECT_THAT(joiner.Wait(), ExitedWith(0));
}

// ---- Over the start methods

class JoinableQueueStartTest : public StartMethodTest {};
MP_INSTANTIATE_TEST_SUITE(JoinableQueueStartTest, AllStartMethods);

TEST_P(JoinableQueueStartTest, GoesToWhoeverTakesAQueue) {
  const JoinableQueue<int> queue = Make();
  EXPECT_EQ(Run([](Queue<int> queue) { return queue.Put(7); }, queue), 0);
  EXPECT_THAT(queue.Join(absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(queue.Get(), IsOkAndHolds(7));
  EXPECT_THAT(queue.TaskDone(), IsOk());
  EXPECT_THAT(queue.Join(), IsOk());
}

}  // namespace
}  // namespace mp
