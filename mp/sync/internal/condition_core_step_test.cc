#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/condition_core_test_fixture.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/marker.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

namespace mp::internal {
namespace {

using ::testing::AnyOf;
using testing::Child;
using testing::IsOk;
using testing::Marker;
using testing::StepKiller;

constexpr int kKills = 300;

// Kills a process at one instruction after the other of what it does with a
// condition, and sees what becomes of others that wait. There are fewer cells
// than kills, so that none may be lost.
class ConditionCoreStepTest : public ConditionCoreTestBase {
 protected:
  // A process that waits again and again, when it is told to.
  class Bystander {
   public:
    Bystander(ConditionCoreStepTest& test, int number)
        : test_(test),
          answer_(test.state().answers[number]),
          child_(testing::RunInChild([&] { return Run(); })) {}

    // Has it wait.
    void Begin() {
      const uint64_t before = test_.state().condition.moment.load();
      answer_ = kNone;
      EXPECT_THAT(begin_.Signal(), IsOk());
      AwaitCondition(
          [&] { return test_.state().condition.moment.load() > before; });
      EXPECT_THAT(test_.lock_.Acquire(kLongWait), IsOk());
      EXPECT_THAT(test_.lock_.Release(), IsOk());
    }

    // Returns what its wait answered.
    int End() {
      EXPECT_THAT(end_.Await(kLongWait), IsOk());
      return answer_;
    }
    bool HasEnded() const { return answer_ != kNone; }

    void Stop() {
      child_.Kill(SIGSTOP);
      int status;
      EXPECT_EQ(waitpid(child_.pid(), &status, WUNTRACED), child_.pid());
    }
    void Continue() { child_.Kill(SIGCONT); }

   private:
    static constexpr int kNone = -1;

    absl::Status Run() {
      MP_RETURN_IF_ERROR(test_.members().Self().status());
      while (begin_.Await(absl::InfiniteDuration()).ok()) {
        answer_ = static_cast<int>(test_.WaitOnce().code());
        MP_RETURN_IF_ERROR(end_.Signal());
      }
      return absl::OkStatus();
    }

    ConditionCoreStepTest& test_;
    Marker begin_ = *Marker::Create();
    Marker end_ = *Marker::Create();
    std::atomic<int>& answer_;
    Child child_;
  };

  void SetUp() override {
    const absl::Status allowed = testing::PtraceAllowed();
    if (!allowed.ok()) GTEST_SKIP() << allowed;
    ASSERT_THAT(members().Self(), IsOk());
    WarmUp();
  }

  // Looks up what lies in shared libraries, for the children too.
  void WarmUp() {
    Child waiter = StartWaiter();
    EXPECT_EQ(Notify(1), 1);
    waiter.Wait();
    WaitOnce(absl::ZeroDuration()).IgnoreError();
    ASSERT_THAT(lock_.Release(), IsOk());
  }

  // Waits, and counts if it was notified, as one does that takes something.
  absl::Status TakeOne(absl::Duration timeout = kLongWait) {
    return Locked([&]() -> absl::Status {
      const absl::Status status = Wait(timeout);
      if (status.ok()) ++plain_count();
      return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
    });
  }

  absl::Status BecomeMember() { return members().Self().status(); }

  // Whether the dead one has left the lock in order. If not, it is repaired,
  // and all are notified.
  bool WasInOrder() {
    absl::Status status = lock_.Acquire(kLongWait);
    if (absl::IsAborted(status)) {
      EXPECT_THAT(lock_.AcquireAbandoned(), IsOk());
      EXPECT_THAT(lock_.MarkRepaired(), IsOk());
      core().Notify(100);
    } else {
      EXPECT_THAT(status, IsOk());
    }
    EXPECT_THAT(lock_.Release(), IsOk());
    return status.ok();
  }

  // Kills at each of the points, with `before` and `after` around it.
  void KillAtEach(StepKiller& killer, absl::FunctionRef<void()> before,
                  absl::FunctionRef<void()> after) {
    before();
    const absl::StatusOr<std::vector<int64_t>> points =
        killer.SomePoints(kKills);
    ASSERT_THAT(points, IsOk());
    after();
    for (const int64_t at : *points) {
      SCOPED_TRACE(at);
      before();
      ASSERT_THAT(killer.KillAt(at), IsOk());
      after();
      if (HasFailure()) return;
    }
  }
};

// One that waits is killed. If it was notified and has not got the lock again,
// another one that was waiting goes on instead.
TEST_F(ConditionCoreStepTest, NotificationOfADeadWaiterIsNotLost) {
  Bystander other(*this, 0);
  bool is_notified = false;
  StepKiller killer([&] { return BecomeMember(); }, [&] { return TakeOne(); },
                    {.on_blocked = [&] {
                      if (is_notified) return;
                      is_notified = true;
                      other.Begin();
                      EXPECT_EQ(Notify(1), 1);
                    }});
  const auto before = [&] {
    plain_count() = 0;
    is_notified = false;
  };
  const auto after = [&] {
    const bool in_order = WasInOrder();
    if (!is_notified) return;
    if (!in_order) {
      EXPECT_THAT(other.End(), AnyOf(kNotified, kToldOfDeath));
      return;
    }
    if (plain_count() == 1) {
      EXPECT_FALSE(other.HasEnded());
      EXPECT_EQ(Notify(1), 1);
    }
    EXPECT_EQ(other.End(), kNotified);
  };
  KillAtEach(killer, before, after);
}

// One that notifies is killed. It has notified one or none, or died with the
// lock.
TEST_F(ConditionCoreStepTest, DeadNotifierHasNotifiedOneOrNone) {
  Bystander first(*this, 0);
  Bystander second(*this, 1);
  StepKiller killer([&] { return BecomeMember(); },
                    [&]() -> absl::Status {
                      return Locked([&] {
                        ++plain_count();
                        core().Notify(1);
                        return absl::OkStatus();
                      });
                    });
  const auto before = [&] {
    plain_count() = 0;
    first.Begin();
    second.Begin();
  };
  const auto after = [&] {
    if (!WasInOrder()) {
      EXPECT_THAT(first.End(), AnyOf(kNotified, kToldOfDeath));
      EXPECT_THAT(second.End(), AnyOf(kNotified, kToldOfDeath));
      return;
    }
    if (plain_count() == 1) {
      EXPECT_EQ(first.End(), kNotified);
      EXPECT_FALSE(second.HasEnded());
      EXPECT_EQ(Notify(100), 1);
    } else {
      EXPECT_FALSE(first.HasEnded());
      EXPECT_FALSE(second.HasEnded());
      EXPECT_EQ(Notify(100), 2);
      EXPECT_EQ(first.End(), kNotified);
    }
    EXPECT_EQ(second.End(), kNotified);
  };
  KillAtEach(killer, before, after);
}

// One that takes over the notification of a dead one is killed itself.
TEST_F(ConditionCoreStepTest, NotificationIsTakenOverFromOneThatDoes) {
  Bystander other(*this, 0);
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return TakeOne(absl::ZeroDuration()); });
  const auto before = [&] {
    plain_count() = 0;
    other.Begin();
    other.Stop();
    // For the other, and also for the one that will come.
    state().condition.used = ConditionAndLock::kCells;
    state().cells[ConditionAndLock::kCells - 1].notified = uint64_t{1} << 40;
    state().cells[ConditionAndLock::kCells - 1].word = ConditionCore::kNotified;
  };
  const auto after = [&] {
    const bool in_order = WasInOrder();
    other.Continue();
    if (!in_order) {
      EXPECT_THAT(other.End(), AnyOf(kNotified, kToldOfDeath));
      state().cells[ConditionAndLock::kCells - 1].word = 0;
      return;
    }
    if (plain_count() == 1) {
      EXPECT_FALSE(other.HasEnded());
      EXPECT_EQ(Notify(1), 1);
    }
    EXPECT_EQ(other.End(), kNotified);
    EXPECT_EQ(state().cells[ConditionAndLock::kCells - 1].word, 0u);
  };
  KillAtEach(killer, before, after);
}

}  // namespace
}  // namespace mp::internal
