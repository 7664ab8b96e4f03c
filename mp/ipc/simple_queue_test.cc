#include "mp/ipc/simple_queue.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/ipc/pipe.h"
#include "mp/testing/child.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::testing::Child;
using ::mp::testing::ExitedWith;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::LeakCheck;
using ::mp::testing::RunInChild;
using ::mp::testing::StatusIs;

constexpr absl::Duration kLong = absl::Seconds(60);

class SimpleQueueTest : public ::testing::Test {
 protected:
  // The arena that the first pipe brings about stays.
  SimpleQueueTest() : leak_check_((Pipe().IgnoreError(), absl::Seconds(10))) {}

 private:
  LeakCheck leak_check_;
};

TEST_F(SimpleQueueTest, PutDoesNotWaitForAReader) {
  const auto queue = SimpleQueue<std::string>::Create();
  ASSERT_THAT(queue, IsOk());
  // Thrice what a pipe holds.
  const std::string text(200'000, 'x');
  ASSERT_THAT(queue->Put(text), IsOk());
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(false));
  EXPECT_THAT(queue->Get(), IsOkAndHolds(text));
  EXPECT_THAT(queue->Empty(), IsOkAndHolds(true));
}

TEST_F(SimpleQueueTest, GetHasATimeout) {
  const auto queue = SimpleQueue<int>::Create();
  ASSERT_THAT(queue, IsOk());
  EXPECT_THAT(queue->Get(absl::Milliseconds(10)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SimpleQueueTest, TravelsInAMessage) {
  auto ends = Pipe();
  ASSERT_THAT(ends, IsOk());
  Child child = RunInChild([&]() -> absl::Status {
    const auto queue = ends->second.Recv<SimpleQueue<int>>(kLong);
    return queue.ok() ? queue->Put(42) : queue.status();
  });
  const auto queue = SimpleQueue<int>::Create();
  ASSERT_THAT(queue, IsOk());
  ASSERT_THAT(ends->first.Send(*queue), IsOk());
  EXPECT_THAT(queue->Get(kLong), IsOkAndHolds(42));
  EXPECT_THAT(child.Wait(), ExitedWith(0));
}

TEST_F(SimpleQueueTest, CloseIsForThisHandleOnly) {
  auto queue = SimpleQueue<int>::Create();
  ASSERT_THAT(queue, IsOk());
  const SimpleQueue<int> other = *queue;
  queue->Close();
  EXPECT_TRUE(queue->closed());
  EXPECT_THAT(queue->Put(1), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(other.Put(1), IsOk());
  EXPECT_THAT(other.Get(), IsOkAndHolds(1));
}

}  // namespace
}  // namespace mp
