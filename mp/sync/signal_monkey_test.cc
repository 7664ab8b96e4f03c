#include <unistd.h>

#include <atomic>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/barrier.h"
#include "mp/sync/bounded_semaphore.h"
#include "mp/sync/event.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/semaphore.h"
#include "mp/testing/crash_monkey.h"
#include "mp/testing/status_matchers.h"

// Processes use semaphores, events and barriers while one after another is
// killed. MP_TEST_FULL=1 kills ten times as many.

namespace mp {
namespace {

using testing::CrashMonkey;
using testing::IsOk;
using testing::MonkeyMember;

constexpr absl::Duration kLong = absl::Seconds(60);

// Who is where one may be.
struct Room {
  std::atomic<pid_t> who;
};

// Is there for a moment and sees that nobody else is.
absl::Status Visit(Room& room) {
  const pid_t self = getpid();
  room.who = self;
  for (int i = 0; i < 200; ++i) {
    if (room.who != self) return absl::InternalError("two are there");
  }
  return absl::OkStatus();
}

class SignalMonkeyTest : public ::testing::Test {
 protected:
  internal::Placed<Room> room_ = *internal::Placed<Room>::Create();
};

TEST_F(SignalMonkeyTest, OneUnitIsForOne) {
  BoundedSemaphore semaphore = *BoundedSemaphore::Create();
  CrashMonkey monkey({});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      MP_RETURN_IF_ERROR(semaphore.Acquire(kLong));
      MP_RETURN_IF_ERROR(Visit(*room_));
      MP_RETURN_IF_ERROR(semaphore.Release());
    }
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_EQ(semaphore.value(), 1u);
}

TEST_F(SignalMonkeyTest, AllUnitsOfGuardsComeBack) {
  Semaphore semaphore = *Semaphore::Create({.value = 3});
  CrashMonkey monkey({});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      MP_ASSIGN_OR_RETURN(SemaphoreGuard guard,
                          SemaphoreGuard::Take(semaphore, kLong));
      MP_RETURN_IF_ERROR(guard.Release());
    }
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_EQ(semaphore.value(), 3u);
}

// Two set it and clear it at once, the others wait.
TEST_F(SignalMonkeyTest, NobodyMissesAnEvent) {
  Event event = *Event::Create();
  CrashMonkey monkey({});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      if (me.index() >= 2) {
        MP_RETURN_IF_ERROR(event.Wait(kLong));
      } else {
        MP_RETURN_IF_ERROR(event.Set());
        MP_RETURN_IF_ERROR(event.Clear());
        usleep(100);
      }
    }
    return event.Set();
  }),
              IsOk());
}

// More than the parties, so that most rounds have others.
TEST_F(SignalMonkeyTest, ABarrierBreaksAndIsReset) {
  Barrier barrier = *Barrier::Create({.parties = 3});
  std::atomic<pid_t>& actions = room_->who;
  const auto act = [&] {
    ++actions;
    return absl::OkStatus();
  };
  CrashMonkey monkey({});
  EXPECT_THAT(monkey.Run([&](MonkeyMember& me) -> absl::Status {
    while (me.GoesOn()) {
      const absl::Status status =
          barrier.Wait(act, absl::Milliseconds(200)).status();
      if (status.ok()) continue;
      if (!absl::IsAborted(status) && !absl::IsDeadlineExceeded(status)) {
        return status;
      }
      if (barrier.IsBroken()) MP_RETURN_IF_ERROR(barrier.Reset());
    }
    return absl::OkStatus();
  }),
              IsOk());
  EXPECT_GT(actions, 0);
}

}  // namespace
}  // namespace mp
