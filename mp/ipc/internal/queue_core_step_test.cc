#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_test_util.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of what it does to a queue, and others
// go on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using testing::IsOk;
using testing::IsOkAndHolds;
using testing::Killed;
using testing::PtraceAllowed;
using testing::StatusIs;
using testing::StepKiller;

// So that it needs a segment of its own.
constexpr size_t kLarge = 100000;

// Puts `used` bytes of `size` that were reserved, of which two are written.
absl::Status PutHuge(QueueCore& queue, size_t size, char c, size_t used) {
  MP_ASSIGN_OR_RETURN(auto place, queue.Reserve(size, Long()));
  place.bytes()[0] = c;
  place.bytes()[1] = c;
  return place.Commit(0, used);
}

std::string Large(char c) { return std::string(kLarge, c); }

// What of a step the others see.
enum class Seen { kNothing, kAll };

class QueueCoreStepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    // See StepKiller.
    ASSERT_THAT(PutText(*queue_, Large('x')), IsOk());
    ASSERT_THAT(GetText(*queue_), IsOk());
    ASSERT_THAT(queue_->TaskDone(), IsOk());
    ASSERT_THAT(queue_->JoinTasks(Long()), IsOk());
  }

  // For a setup: makes the child a member, and maps what there is.
  absl::Status TouchAll() {
    MP_RETURN_IF_ERROR(queue_->Reserve(0, Long()).status());
    return GetText(*queue_, Now()).ok()
               ? absl::InternalError("there was a message")
               : absl::OkStatus();
  }

  // Kills at instructions of `region`, each time after `prepare`, which leaves
  // the queue as it wants it. `check` then says what of it the others see.
  void KillEverywhere(StepKiller::Body region,
                      absl::FunctionRef<void()> prepare,
                      absl::FunctionRef<Seen(bool finished)> check) {
    StepKiller killer([&] { return setup_(); }, std::move(region));
    prepare();
    const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(60);
    ASSERT_THAT(points, IsOk());
    EXPECT_EQ(check(/*finished=*/true), Seen::kAll);
    int seen[2] = {};
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      prepare();
      const absl::StatusOr<Killed> killed = killer.KillAt(at);
      ASSERT_THAT(killed, IsOk());
      const Seen what = check(killed->finished);
      EXPECT_TRUE(what == Seen::kAll || !killed->finished);
      ++seen[static_cast<int>(what)];
      ExpectInOrder();
      if (HasFailure()) return;
    }
    EXPECT_GT(seen[0], 0);
    EXPECT_GT(seen[1], 0);
  }

  void Drain() {
    while (!queue_->Empty()) ASSERT_THAT(GetText(*queue_), IsOk());
  }

  // Whoever was killed, it works as before, and takes up no more memory.
  void ExpectInOrder() {
    ASSERT_THAT(PutText(*queue_, "one"), IsOk());
    ASSERT_THAT(PutText(*queue_, Large('2')), IsOk());
    ASSERT_THAT(GetText(*queue_), IsOkAndHolds("one"));
    ASSERT_THAT(GetText(*queue_), IsOkAndHolds(Large('2')));
    for (int i = 0; i < 2; ++i) ASSERT_THAT(queue_->TaskDone(), IsOk());
    ASSERT_TRUE(queue_->Empty());
    ASSERT_EQ(queue_->published(), queue_->taken());
    EXPECT_LE(MemoryOf(*queue_), kIdleBytes);
  }

  Seen TakeIfThere(absl::string_view text) {
    if (queue_->Empty()) return Seen::kNothing;
    EXPECT_THAT(GetText(*queue_), IsOkAndHolds(text));
    EXPECT_TRUE(queue_->Empty());
    return Seen::kAll;
  }

  // As TouchAll(), unless a test has messages for the child.
  StepKiller::Body setup_ = [&] { return TouchAll(); };
  std::shared_ptr<QueueCore> queue_ = MakeQueue();
  char first_ = 0;
};

TEST_F(QueueCoreStepTest, APutIsSeenWholeOrNotAtAll) {
  KillEverywhere([&] { return PutText(*queue_, "from the dead"); }, [] {},
                 [&](bool) { return TakeIfThere("from the dead"); });
}

// It needs another segment, whose memory must not be forgotten.
TEST_F(QueueCoreStepTest, AMessageWrittenInPlaceIsSeenWholeOrNotAtAll) {
  KillEverywhere([&] { return PutHuge(*queue_, 3 << 20, 'a', 2); }, [] {},
                 [&](bool) {
                   EXPECT_LE(MemoryOf(*queue_), 12 << 20);
                   return TakeIfThere("aa");
                 });
}

TEST_F(QueueCoreStepTest, ABatchIsPutAllAtOnce) {
  const std::vector<absl::string_view> texts(5, "x");
  KillEverywhere([&] { return queue_->PutBatch(texts, Long()).status(); },
                 [] {},
                 [&](bool) {
                   const uint64_t size = queue_->Size();
                   EXPECT_TRUE(size == 0 || size == 5) << size;
                   Drain();
                   return size == 0 ? Seen::kNothing : Seen::kAll;
                 });
}

TEST_F(QueueCoreStepTest, AMessageIsTakenOrStays) {
  // The child's first Get() is in the region.
  setup_ = [&] { return queue_->Reserve(0, Long()).status(); };
  KillEverywhere([&] { return GetText(*queue_).status(); },
                 [&] {
                   ASSERT_THAT(PutText(*queue_, "first"), IsOk());
                   ASSERT_THAT(PutText(*queue_, "second"), IsOk());
                 },
                 [&](bool) {
                   const bool taken = queue_->Size() == 1;
                   if (!taken) {
                     EXPECT_THAT(GetText(*queue_), IsOkAndHolds("first"));
                   }
                   EXPECT_EQ(TakeIfThere("second"), Seen::kAll);
                   return taken ? Seen::kAll : Seen::kNothing;
                 });
}

// The child is the one that comes to another segment, gives back what is behind
// it, and leaves the queue empty and large.
TEST_F(QueueCoreStepTest, AStepToTheNextSegmentIsMadeOrNot) {
  setup_ = [&] { return queue_->Reserve(0, Long()).status(); };
  const auto take = [&](absl::string_view bytes, uint32_t) {
    first_ = bytes[0];
    return absl::OkStatus();
  };
  KillEverywhere(
      [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(queue_->Get(Long(), take));
        return queue_->Get(Long(), take);
      },
      [&] {
        ASSERT_THAT(PutHuge(*queue_, 3 << 20, 'a', 3 << 20), IsOk());
        ASSERT_THAT(PutHuge(*queue_, 6 << 20, 'b', 6 << 20), IsOk());
      },
      [&](bool) {
        const uint64_t left = queue_->Size();
        EXPECT_LE(left, 2u);
        for (uint64_t i = left; i > 0; --i) {
          EXPECT_THAT(queue_->Get(Long(), take), IsOk());
          EXPECT_EQ(first_, i == 2 ? 'a' : 'b');
        }
        return left == 0 ? Seen::kAll : Seen::kNothing;
      });
}

TEST_F(QueueCoreStepTest, ATaskIsDoneOrNot) {
  uint64_t lost = 0;
  KillEverywhere([&] { return queue_->TaskDone(); },
                 [&] {
                   ASSERT_THAT(PutText(*queue_, "task"), IsOk());
                   ASSERT_THAT(GetText(*queue_), IsOk());
                 },
                 [&](bool) {
                   // It was taken by this process, which lives.
                   const absl::Status joined = queue_->JoinTasks(Now());
                   if (joined.ok()) return Seen::kAll;
                   EXPECT_THAT(joined,
                               StatusIs(absl::StatusCode::kDeadlineExceeded));
                   EXPECT_THAT(queue_->TaskDone(), IsOk());
                   EXPECT_THAT(queue_->JoinTasks(Long()), IsOk());
                   ++lost;
                   return Seen::kNothing;
                 });
  EXPECT_GT(lost, 0u);
}

// That it was taken may be known, or that nobody has: but it is never forgotten
// that it is not done.
TEST_F(QueueCoreStepTest, WhatTheDeadHaveTakenIsNotWaitedFor) {
  setup_ = [&] { return queue_->Reserve(0, Long()).status(); };
  KillEverywhere([&] { return GetText(*queue_).status(); },
                 [&] { ASSERT_THAT(PutText(*queue_, "task"), IsOk()); },
                 [&](bool) {
                   if (!queue_->Empty()) {
                     EXPECT_THAT(GetText(*queue_), IsOkAndHolds("task"));
                     EXPECT_THAT(queue_->TaskDone(), IsOk());
                     EXPECT_THAT(queue_->JoinTasks(Long()), IsOk());
                     return Seen::kNothing;
                   }
                   EXPECT_THAT(queue_->JoinTasks(Long()),
                               StatusIs(absl::StatusCode::kAborted));
                   EXPECT_THAT(queue_->JoinTasks(Long()), IsOk());
                   return Seen::kAll;
                 });
}

TEST_F(QueueCoreStepTest, ItsEndIsSeenOrNot) {
  StepKiller killer([&] { return TouchAll(); },
                    [&] {
                      queue_->Shutdown(/*immediate=*/true);
                      return absl::OkStatus();
                    });
  const auto prepare = [&] {
    queue_ = MakeQueue();
    ASSERT_THAT(queue_->Reserve(0, Long()), IsOk());
  };
  prepare();
  const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(60);
  ASSERT_THAT(points, IsOk());
  for (const int64_t at : *points) {
    SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
    prepare();
    ASSERT_THAT(killer.KillAt(at), IsOk());
    if (queue_->is_shut_down()) {
      EXPECT_THAT(PutText(*queue_, "x"),
                  StatusIs(absl::StatusCode::kFailedPrecondition));
      EXPECT_THAT(GetText(*queue_), StatusIs(absl::StatusCode::kOutOfRange));
    } else {
      EXPECT_THAT(PutText(*queue_, "x"), IsOk());
      EXPECT_THAT(GetText(*queue_), IsOkAndHolds("x"));
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace mp::internal
