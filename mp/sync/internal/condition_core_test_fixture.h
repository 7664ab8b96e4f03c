#ifndef MP_SYNC_INTERNAL_CONDITION_CORE_TEST_FIXTURE_H_
#define MP_SYNC_INTERNAL_CONDITION_CORE_TEST_FIXTURE_H_

#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"
#include "mp/testing/status_matchers.h"

namespace mp::internal {

// What the processes of a test of ConditionCore share.
struct ConditionAndLock {
  static constexpr int kCells = 16;

  LockWordState lock;
  ConditionState condition;
  ConditionCell cells[kCells];
  std::atomic<int> answers[2];  // of a test's own
};

class ConditionCoreTestBase : public SharedStateTest<ConditionAndLock> {
 protected:
  ConditionCore core() {
    return ConditionCore(state().condition, absl::MakeSpan(state().cells),
                         members(), lock_, members());
  }

  absl::Status Locked(absl::FunctionRef<absl::Status()> body) {
    MP_RETURN_IF_ERROR(lock_.Acquire(kLongWait));
    const absl::Status status = body();
    return status.ok() ? lock_.Release() : status;
  }

  // Waits, for the holder of the lock.
  absl::Status Wait(absl::Duration timeout = kLongWait) {
    ReleasedLockWord lock(lock_);
    return core().Wait(lock, Deadline(timeout));
  }

  // Acquires, waits and releases.
  absl::Status WaitOnce(absl::Duration timeout = kLongWait) {
    return Locked([&] { return Wait(timeout); });
  }

  // Acquires, notifies and releases.
  int Notify(int count = 1) {
    int told = -1;
    EXPECT_THAT(Locked([&] {
                  told = core().Notify(count);
                  return absl::OkStatus();
                }),
                testing::IsOk());
    return told;
  }

  // Starts a child that waits, and exits with the code of the answer. Comes
  // back when it waits.
  testing::Child StartWaiter(absl::Duration timeout = kLongWait) {
    const uint64_t before = state().condition.moment.load();
    testing::Child child = testing::RunInChild([&, this]() -> absl::Status {
      MP_RETURN_IF_ERROR(members().Self().status());
      _exit(static_cast<int>(WaitOnce(timeout).code()));
    });
    AwaitCondition([&] { return state().condition.moment.load() > before; });
    // It has released the lock, too.
    EXPECT_THAT(lock_.Acquire(kLongWait), testing::IsOk());
    EXPECT_THAT(lock_.Release(), testing::IsOk());
    return child;
  }

  static constexpr int kNotified = static_cast<int>(absl::StatusCode::kOk);
  static constexpr int kTimedOut =
      static_cast<int>(absl::StatusCode::kDeadlineExceeded);
  static constexpr int kToldOfDeath =
      static_cast<int>(absl::StatusCode::kAborted);

  LockWord lock_{state().lock, members(), "Lock"};
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_CONDITION_CORE_TEST_FIXTURE_H_
