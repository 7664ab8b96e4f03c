#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A process is killed at each instruction of what it does to a lock, and others
// go on. MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using ::testing::AnyOf;
using testing::Child;
using testing::ExitedWith;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Killed;
using testing::PtraceAllowed;
using testing::RunInChild;
using testing::StatusIs;
using testing::StepKiller;

constexpr int kGotIt = static_cast<int>(absl::StatusCode::kOk);
constexpr int kToldIt = static_cast<int>(absl::StatusCode::kAborted);

class LockWordStepTest : public SharedStateTest<LockWordState> {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    ASSERT_THAT(members().Self(), IsOk());
    ASSERT_THAT(TakeAndChange(), IsOk());  // see StepKiller on first calls
  }

  absl::Status BecomeMember() { return members().Self().status(); }

  // Changes two counts that are to be the same.
  void Change() {
    plain_count() += 1;
    count() += 1;
  }
  bool IsWhole() { return plain_count() == count(); }

  absl::Status TakeAndChange() {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    Change();
    return lock_.Release();
  }

  absl::Status Repair() {
    MP_RETURN_IF_ERROR(lock_.AcquireAbandoned());
    plain_count() = count();
    MP_RETURN_IF_ERROR(lock_.MarkRepaired());
    return lock_.Release();
  }

  // What holds for one that comes after the death of process `dead`: it gets
  // the lock, and all is whole, or it is told, once. Returns which.
  bool ExpectGotItOrIsTold(pid_t dead) {
    const absl::Status taken = lock_.Acquire(kLongWait);
    if (taken.ok()) {
      EXPECT_TRUE(IsWhole());
      EXPECT_THAT(lock_.Release(), IsOk());
      return true;
    }
    EXPECT_THAT(taken, StatusIs(absl::StatusCode::kAborted,
                                HasSubstr(absl::StrCat("pid ", dead, " "))));
    EXPECT_THAT(Repair(), IsOk());
    EXPECT_THAT(lock_.Acquire(absl::ZeroDuration()), IsOk());
    EXPECT_THAT(lock_.Release(), IsOk());
    return false;
  }

  // Runs `region` again and again, kills it, and has `check` look.
  void KillEverywhere(StepKiller& killer, int times,
                      absl::FunctionRef<void()> reset,
                      absl::FunctionRef<void(const Killed&)> check) {
    const absl::StatusOr<std::vector<int64_t>> points =
        killer.SomePoints(times);
    ASSERT_THAT(points, IsOk());
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      reset();
      const absl::StatusOr<Killed> killed = killer.KillAt(at);
      ASSERT_THAT(killed, IsOk());
      check(*killed);
      if (HasFailure()) return;
    }
  }

  LockWord lock_{state(), members(), "Lock"};
};

TEST_F(LockWordStepTest, UncontendedHolder) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeAndChange(); });
  int got_it = 0;
  int told = 0;
  KillEverywhere(
      killer, 300, [] {},
      [&](const Killed& killed) {
        ++(ExpectGotItOrIsTold(killed.pid) ? got_it : told);
      });
  EXPECT_GT(got_it, 0);
  EXPECT_GT(told, 0);
}

// It waits until the test, which holds the lock, releases it.
TEST_F(LockWordStepTest, ContendedHolder) {
  const auto release = [&] {
    if (lock_.IsOwn()) static_cast<void>(lock_.Release());
  };
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeAndChange(); }, {.on_blocked = release});
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  KillEverywhere(
      killer, 300,
      [&] {
        if (!lock_.IsOwn()) {
          ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
        }
      },
      [&](const Killed& killed) {
        release();
        ExpectGotItOrIsTold(killed.pid);
      });
}

// Another one sleeps meanwhile, and is woken or told.
TEST_F(LockWordStepTest, OneThatReleasesToASleeper) {
  bool is_counting = true;
  StepKiller killer(
      [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
        count() = 1;
        if (is_counting) lock_.ExpectSleeper();
        AwaitCondition(
            [&] { return (state().word.load() & LockWord::kWaiters) != 0; });
        return absl::OkStatus();
      },
      [&] { return lock_.Release(); });
  const auto start_waiter = [&] {
    return RunInChild([&, this]() -> absl::Status {
      MP_RETURN_IF_ERROR(BecomeMember());
      AwaitCondition([&] { return count() == 1; });
      const absl::Status taken = lock_.Acquire(kLongWait);
      if (taken.ok()) MP_RETURN_IF_ERROR(lock_.Release());
      _exit(static_cast<int>(taken.code()));
    });
  };
  Child waiter(-1);
  KillEverywhere(
      killer, 300,
      [&] {
        is_counting = false;
        state().word = 0;
        count() = 0;
        waiter = start_waiter();
      },
      [&](const Killed&) {
        EXPECT_THAT(waiter.Wait(),
                    AnyOf(ExitedWith(kGotIt), ExitedWith(kToldIt)));
      });
}

// It gives up, and there is one that goes on waiting.
TEST_F(LockWordStepTest, OneThatWaitsInVain) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&]() -> absl::Status {
                      lock_.Acquire(absl::Milliseconds(4)).IgnoreError();
                      return absl::OkStatus();
                    });
  ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
  KillEverywhere(
      killer, 300, [] {},
      [&](const Killed&) {
        Child waiter = RunInChild([&] { return TakeAndChange(); });
        ASSERT_THAT(lock_.Release(), IsOk());
        EXPECT_THAT(waiter.Wait(), ExitedWith(0));
        ASSERT_THAT(lock_.Acquire(kLongWait), IsOk());
      });
}

// Whoever gets it after that finds it repaired.
TEST_F(LockWordStepTest, OneThatRepairs) {
  const pid_t dead = RunAndKill([&] { return lock_.Acquire(kLongWait); });
  const uint32_t abandoned = state().word;
  const auto reset = [&] {
    state().word = abandoned;
    state().dead = 0;
    plain_count() = count() + 1;
  };
  reset();
  ASSERT_THAT(Repair(), IsOk());  // see StepKiller on first calls
  reset();
  StepKiller killer([&] { return BecomeMember(); }, [&] { return Repair(); });
  int repaired = 0;
  KillEverywhere(killer, 300, reset, [&](const Killed& killed) {
    const absl::Status taken = lock_.Acquire(kLongWait);
    if (taken.ok()) {
      EXPECT_TRUE(IsWhole());
      ASSERT_THAT(lock_.Release(), IsOk());
      ++repaired;
      return;
    }
    EXPECT_THAT(taken,
                StatusIs(absl::StatusCode::kAborted,
                         AnyOf(HasSubstr(absl::StrCat("pid ", dead, " ")),
                               HasSubstr(absl::StrCat("pid ", killed.pid)))));
    ASSERT_THAT(Repair(), IsOk());
  });
  EXPECT_GT(repaired, 0);
}

}  // namespace
}  // namespace mp::internal
