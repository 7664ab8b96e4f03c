#include "mp/sync/internal/rlock_core.h"

#include <unistd.h>

#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RunInChild;
using testing::Scaled;
using testing::StatusIs;

class RLockCoreTest : public SharedStateTest<RLockCoreState> {
 protected:
  absl::Status Take() { return lock_.Acquire(kLongWait); }

  RLockCore lock_{state(), members(), "RLock"};
};

TEST_F(RLockCoreTest, IsReleasedAsOftenAsTaken) {
  for (uint32_t depth = 1; depth <= 3; ++depth) {
    ASSERT_THAT(Take(), IsOk());
    EXPECT_EQ(lock_.OwnDepth(), depth);
  }
  EXPECT_EQ(lock_.ToString(), "RLock(held by this thread, 3 times)");
  for (uint32_t depth = 3; depth > 0; --depth) {
    EXPECT_TRUE(lock_.IsOwn());
    ASSERT_THAT(lock_.Release(), IsOk());
    EXPECT_EQ(lock_.OwnDepth(), depth - 1);
  }
  // Another thread of this process that takes it now is not taken for this one.
  EXPECT_EQ(state().thread, 0u);
  EXPECT_EQ(lock_.ToString(), "RLock(free)");
  EXPECT_THAT(lock_.Release(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(RLockCoreTest, AnotherThreadNeitherTakesNorReleasesIt) {
  ASSERT_THAT(Take(), IsOk());
  std::thread([&] {
    EXPECT_FALSE(lock_.IsOwn());
    EXPECT_EQ(lock_.OwnDepth(), 0u);
    EXPECT_EQ(lock_.ToString(),
              absl::StrCat("RLock(held by pid ", getpid(), ")"));
    EXPECT_THAT(lock_.Acquire(absl::Milliseconds(5)),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    EXPECT_THAT(lock_.Release(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("this thread does not hold it")));
  }).join();
  EXPECT_EQ(lock_.OwnDepth(), 1u);
}

TEST_F(RLockCoreTest, AForkedChildNeitherTakesNorReleasesIt) {
  ASSERT_THAT(Take(), IsOk());
  EXPECT_THAT(RunInChild([&]() -> absl::Status {
                EXPECT_FALSE(lock_.IsOwn());
                EXPECT_THAT(lock_.Acquire(absl::Milliseconds(5)),
                            StatusIs(absl::StatusCode::kDeadlineExceeded));
                EXPECT_THAT(lock_.Release(),
                            StatusIs(absl::StatusCode::kFailedPrecondition));
                return absl::OkStatus();
              }).Wait(),
              ExitedWith(0));
}

TEST_F(RLockCoreTest, HasALimit) {
  ASSERT_THAT(Take(), IsOk());
  state().depth = std::numeric_limits<uint32_t>::max();
  EXPECT_THAT(Take(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(lock_.OwnDepth(), std::numeric_limits<uint32_t>::max());
}

TEST_F(RLockCoreTest, GivesUpAllLevelsAndTakesThemBack) {
  ASSERT_THAT(Take(), IsOk());
  ASSERT_THAT(Take(), IsOk());
  uint32_t depth = 0;
  ASSERT_THAT(lock_.ReleaseAll(depth), IsOk());
  EXPECT_EQ(depth, 2u);
  EXPECT_FALSE(lock_.word().IsTaken());
  EXPECT_THAT(lock_.ReleaseAll(depth),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(lock_.AcquireAfterSleep(Deadline(kLongWait), depth), IsOk());
  EXPECT_EQ(lock_.OwnDepth(), 2u);
}

TEST_F(RLockCoreTest, OneThreadAtATimeHasIt) {
  const int rounds = Scaled(10'000, 100'000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, this] {
      for (int i = 0; i < rounds; ++i) {
        ASSERT_THAT(Take(), IsOk());
        ASSERT_THAT(Take(), IsOk());
        ASSERT_EQ(lock_.OwnDepth(), 2u);
        plain_count() = plain_count() + 1;
        ASSERT_THAT(lock_.Release(), IsOk());
        ASSERT_THAT(lock_.Release(), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plain_count(), 4 * rounds);
}

TEST_F(RLockCoreTest, IsRepairedByTheThreadThatTookIt) {
  const pid_t dead = RunAndKill([&] {
    Take().IgnoreError();
    return Take();
  });
  EXPECT_THAT(Take(), StatusIs(absl::StatusCode::kAborted,
                               HasSubstr(absl::StrCat("pid ", dead))));
  EXPECT_EQ(lock_.OwnDepth(), 0u);
  ASSERT_THAT(lock_.AcquireAbandoned(), IsOk());
  EXPECT_EQ(lock_.OwnDepth(), 1u);
  std::thread([&] {
    EXPECT_THAT(lock_.MarkRepaired(),
                StatusIs(absl::StatusCode::kFailedPrecondition));
  }).join();
  ASSERT_THAT(Take(), IsOk());
  ASSERT_THAT(lock_.MarkRepaired(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  ASSERT_THAT(lock_.Release(), IsOk());
  EXPECT_FALSE(lock_.word().IsTaken());
}

}  // namespace
}  // namespace mp::internal
