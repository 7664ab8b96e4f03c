#include "mp/testing/step_killer.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/testing/leaks.h"
#include "mp/testing/status_matchers.h"

namespace mp::testing {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Lt;
using ::testing::SizeIs;

// What parent and child share.
struct Shared {
  std::atomic<uint32_t> from = 10;
  std::atomic<uint32_t> to = 0;
  std::atomic<uint64_t> both = 10;  // `to` above `from`
  std::atomic<int> turns = 0;
  FutexWord word = 0;
  char bytes[64] = {};
};

// By one instruction.
void FillAtOnce(char (&bytes)[64], char value) {
#if defined(__x86_64__)
  char* at = bytes;
  size_t left = sizeof(bytes);
  asm volatile("rep stosb" : "+D"(at), "+c"(left) : "a"(value) : "memory");
#else
  std::memset(bytes, value, sizeof(bytes));
#endif
}

absl::Status Nothing() { return absl::OkStatus(); }

class StepKillerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    Reset();
  }
  ~StepKillerTest() override { munmap(shared_, sizeof(Shared)); }

  void Reset() { new (shared_) Shared; }

  // Two stores, and a moment between them at which one unit is nowhere.
  absl::Status MoveByTwoStores() {
    shared_->from.fetch_sub(1);
    shared_->to.fetch_add(1);
    return absl::OkStatus();
  }
  absl::Status MoveByOneStore() {
    shared_->both.fetch_add((uint64_t{1} << 32) - 1);
    return absl::OkStatus();
  }

  absl::Status Turn(int turns) {
    for (int i = 0; i < turns; ++i) ++shared_->turns;
    return absl::OkStatus();
  }

  // Sleeps until `word` is `wanted`.
  absl::Status AwaitWord(uint32_t wanted) {
    while (shared_->word != wanted) {
      FutexWait(shared_->word, shared_->word,
                Deadline(absl::InfiniteDuration()));
    }
    return absl::OkStatus();
  }
  void Wake(uint32_t value) {
    shared_->word = value;
    FutexWake(shared_->word, INT_MAX);
  }

  LeakCheck leak_check_;
  Shared* const shared_ =
      new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
};

TEST_F(StepKillerTest, FindsTheInstructionAtWhichAProtocolIsBroken) {
  StepKiller killer(Nothing, [&] { return MoveByTwoStores(); });
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(1000);
  ASSERT_THAT(points, IsOk());
  int broken = 0;
  for (int64_t at : *points) {
    Reset();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    if (shared_->from + shared_->to != 10) ++broken;
  }
  EXPECT_GT(broken, 0);
  EXPECT_LT(broken, points->size());
}

TEST_F(StepKillerTest, FindsNothingInOneThatIsRight) {
  StepKiller killer(Nothing, [&] { return MoveByOneStore(); });
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(1000);
  ASSERT_THAT(points, IsOk());
  int moved = 0;
  for (int64_t at : *points) {
    Reset();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    const uint64_t both = shared_->both;
    ASSERT_EQ((both >> 32) + (both & UINT32_MAX), 10) << at;
    if (both >> 32 != 0) ++moved;
  }
  EXPECT_GT(moved, 0);
  EXPECT_LT(moved, points->size());
}

TEST_F(StepKillerTest, RegionBeginsAfterTheSetupAndEndsWithItsEnd) {
  StepKiller killer([&] { return Turn(10'000); }, [&] { return Turn(3); });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOkAndHolds(AllOf(Gt(3), Lt(10'000))));

  const auto turns_at = [&](int64_t at) {
    Reset();
    EXPECT_THAT(killer.KillAt(at), IsOk());
    return shared_->turns.load();
  };
  EXPECT_EQ(turns_at(0), 10'000);
  EXPECT_EQ(turns_at(2 * *count), 10'003);
}

TEST_F(StepKillerTest, TellsWhetherTheRegionWasOver) {
  StepKiller killer(Nothing, [&] { return Turn(3); });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  const absl::StatusOr<Killed> inside = killer.KillAt(*count / 2);
  ASSERT_THAT(inside, IsOk());
  EXPECT_FALSE(inside->finished);
  EXPECT_EQ(inside->instructions, *count / 2);

  const absl::StatusOr<Killed> after = killer.KillAt(2 * *count);
  ASSERT_THAT(after, IsOk());
  EXPECT_TRUE(after->finished);
  EXPECT_GT(after->pid, 0);
}

TEST_F(StepKillerTest, MoreInstructionsGetFarther) {
  StepKiller killer(Nothing, [&] { return Turn(100); });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOkAndHolds(Ge(100)));
  int before = -1;
  for (int quarter = 0; quarter <= 4; ++quarter) {
    Reset();
    ASSERT_THAT(killer.KillAt(*count * quarter / 4), IsOk());
    EXPECT_GT(shared_->turns, before);
    before = shared_->turns;
  }
  EXPECT_GE(before, 90);  // A sanitizer does not always need as many.
}

// Loops, instructions that repeat themselves, and system calls.
TEST_F(StepKillerTest, ATrapIsWhereStepsLead) {
  const auto region = [&] {
    for (int i = 0; i < 3; ++i) {
      ++shared_->turns;
      FillAtOnce(shared_->bytes, static_cast<char>(i + 1));
      sched_yield();
    }
    return absl::OkStatus();
  };
  StepKiller killer(Nothing, region);
  StepKiller stepper(Nothing, region);
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  for (int64_t at = 0; at <= *count; at += 3) {
    Reset();
    ASSERT_THAT(stepper.KillAt(at), IsOk());
    const int turns = shared_->turns;
    const std::string bytes(shared_->bytes, sizeof(shared_->bytes));
    Reset();
    const absl::StatusOr<Killed> killed = killer.KillAt(at);
    ASSERT_THAT(killed, IsOk());
    EXPECT_EQ(killed->instructions, at);
    ASSERT_EQ(shared_->turns, turns) << at;
    ASSERT_EQ(std::string(shared_->bytes, sizeof(shared_->bytes)), bytes) << at;
  }
}

TEST_F(StepKillerTest, CallsBackOnTheWayToATrap) {
  int calls = 0;
  StepKiller killer(Nothing,
                    [&] {
                      absl::Status status = AwaitWord(1);
                      status.Update(AwaitWord(2));
                      return status;
                    },
                    {.on_blocked = [&] { Wake(++calls); }});
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(calls, 2);

  Reset();
  calls = 0;
  const absl::StatusOr<Killed> killed = killer.KillAt(*count);
  ASSERT_THAT(killed, IsOk());
  EXPECT_EQ(killed->blocked, 2);
  EXPECT_EQ(calls, 2);
}

// The second child takes another way.
TEST_F(StepKillerTest, OneThatDoesNotComeToItsPointIsKilledAtTheEnd) {
  StepKiller killer(Nothing, [&] {
    if (shared_->word == 0) static_cast<void>(Turn(100));
    return absl::OkStatus();
  });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  shared_->word = 1;
  const absl::StatusOr<Killed> killed = killer.KillAt(*count / 2);
  ASSERT_THAT(killed, IsOk());
  EXPECT_TRUE(killed->finished);
}

TEST_F(StepKillerTest, PointsCoverTheRegion) {
  unsetenv("MP_TEST_FULL");
  StepKiller killer(Nothing, [&] { return Turn(5); });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(10);
  ASSERT_THAT(points, IsOkAndHolds(AllOf(SizeIs(Ge(5)), SizeIs(Le(10)))));
  const int64_t stride = points->at(1) - points->at(0);
  EXPECT_LT(points->front(), stride);
  EXPECT_GT(points->back(), *count - 2 * stride);
}

TEST_F(StepKillerTest, NotAllTurnsOfALoopAreWorthAKill) {
  StepKiller killer(Nothing, [&] { return Turn(500); });
  const absl::StatusOr<int64_t> count = killer.Count();
  ASSERT_THAT(count, IsOk());
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(*count);
  ASSERT_THAT(points, IsOkAndHolds(SizeIs(Lt(*count / 10))));
  EXPECT_GT(points->back(), *count - 30);  // what follows the loop
}

TEST_F(StepKillerTest, AllPointsInAFullTest) {
  setenv("MP_TEST_FULL", "1", /*replace=*/1);
  StepKiller killer(Nothing, [&] { return Turn(3); });
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(2);
  unsetenv("MP_TEST_FULL");
  ASSERT_THAT(points, IsOkAndHolds(SizeIs(Gt(3))));
  EXPECT_EQ(points->front(), 0);
  EXPECT_EQ(points->back(), points->size() - 1);
}

TEST_F(StepKillerTest, CallsBackWhereTheRegionSleeps) {
  int calls = 0;
  StepKiller killer(Nothing, [&] { return AwaitWord(1); },
                    {.on_blocked = [&] { ++calls, Wake(1); }});
  EXPECT_THAT(killer.Count(), IsOk());
  EXPECT_EQ(calls, 1);

  Reset();
  const absl::StatusOr<Killed> killed = killer.KillAt(INT_MAX);
  ASSERT_THAT(killed, IsOk());
  EXPECT_TRUE(killed->finished);
  EXPECT_EQ(killed->blocked, 1);
}

TEST_F(StepKillerTest, KillsOneThatSleeps) {
  StepKiller killer(Nothing, [&] {
    ++shared_->turns;
    const absl::Status status = AwaitWord(1);
    ++shared_->turns;
    return status;
  });
  const absl::StatusOr<Killed> killed = killer.KillBlocked();
  ASSERT_THAT(killed, IsOk());
  EXPECT_EQ(killed->blocked, 1);
  EXPECT_FALSE(killed->finished);
  EXPECT_EQ(shared_->turns, 1);
}

TEST_F(StepKillerTest, KillsOneThatSleepsForTheSecondTime) {
  StepKiller killer(Nothing,
                    [&] {
                      absl::Status status = AwaitWord(1);
                      ++shared_->turns;
                      status.Update(AwaitWord(2));
                      ++shared_->turns;
                      return status;
                    },
                    {.on_blocked = [&] { Wake(1); }});
  const absl::StatusOr<Killed> killed = killer.KillBlocked(2);
  ASSERT_THAT(killed, IsOk());
  EXPECT_EQ(killed->blocked, 2);
  EXPECT_EQ(shared_->turns, 1);
}

TEST_F(StepKillerTest, OneThatNeverSleepsIsKilledAtItsEnd) {
  StepKiller killer(Nothing, [&] { return Turn(3); });
  const absl::StatusOr<Killed> killed = killer.KillBlocked();
  ASSERT_THAT(killed, IsOk());
  EXPECT_TRUE(killed->finished);
  EXPECT_EQ(killed->blocked, 0);
  EXPECT_EQ(shared_->turns, 3);
}

TEST_F(StepKillerTest, HangIsAnError) {
  StepKiller killer(Nothing, [&] { return AwaitWord(1); },
                    {.patience = absl::Seconds(1)});
  EXPECT_THAT(killer.Count(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                       HasSubstr("sleeps")));
  EXPECT_THAT(killer.KillAt(INT_MAX),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(StepKillerTest, EndThatIsNotAKillIsAnError) {
  StepKiller killer(Nothing, []() -> absl::Status { _exit(3); });
  EXPECT_THAT(killer.KillAt(INT_MAX), StatusIs(absl::StatusCode::kInternal,
                                               HasSubstr("exited with 3")));
  EXPECT_THAT(killer.Count(), StatusIs(absl::StatusCode::kInternal,
                                       HasSubstr("exited with 3")));
  EXPECT_THAT(killer.KillBlocked(), StatusIs(absl::StatusCode::kInternal));
}

TEST_F(StepKillerTest, SetupOrRegionThatFailsIsAnError) {
  const auto fail = [] { return absl::InternalError("as wanted"); };
  EXPECT_THAT(StepKiller(fail, Nothing).KillAt(1),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("with 1")));
  EXPECT_THAT(StepKiller(Nothing, fail).Count(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("with 1")));
}

TEST_F(StepKillerTest, SignalsReachTheChild) {
  StepKiller killer(Nothing, [] {
    static volatile sig_atomic_t signals = 0;
    signal(SIGUSR1, [](int) { signals = signals + 1; });
    raise(SIGUSR1);
    return signals == 1 ? absl::OkStatus() : absl::InternalError("no signal");
  });
  EXPECT_THAT(killer.Count(), IsOk());
}

TEST_F(StepKillerTest, KillLeavesNoChild) {
  const ResourceSnapshot before = ResourceSnapshot::Take();
  StepKiller killer(Nothing, [&] { return Turn(3); });
  ASSERT_THAT(killer.KillAt(2), IsOk());
  EXPECT_THAT(LeaksSince(before), IsEmpty());
}

}  // namespace
}  // namespace mp::testing
