#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/status_macros.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/rw_lock_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/step_killer.h"

// A reader or writer is killed at each instruction, and others go on.
// MP_TEST_FULL=1 leaves out no instruction.

namespace mp::internal {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::Killed;
using testing::PtraceAllowed;
using testing::StatusIs;
using testing::StepKiller;

struct State {
  RwLockCoreState core;
  ReaderCell cells[3];
};

class RwLockCoreStepTest : public SharedStateTest<State> {
 protected:
  void SetUp() override {
    if (auto allowed = PtraceAllowed(); !allowed.ok()) GTEST_SKIP() << allowed;
    ASSERT_THAT(ReadOnce(), IsOk());  // see StepKiller on first calls
    ASSERT_THAT(WriteOnce(), IsOk());
  }

  absl::Status BecomeMember() { return members().Self().status(); }

  absl::Status ReadOnce() {
    MP_RETURN_IF_ERROR(lock_.AcquireRead(kLongWait));
    return lock_.ReleaseRead();
  }
  absl::Status WriteOnce() {
    MP_RETURN_IF_ERROR(lock_.AcquireWrite(kLongWait));
    plain_count() += 1;
    count() += 1;
    return lock_.ReleaseWrite();
  }

  // After the death of a writer: one that reads finds all whole, or is told
  // once. Returns which.
  bool ExpectWholeOrToldOf(pid_t dead) {
    const absl::Status taken = lock_.AcquireRead(kLongWait);
    if (taken.ok()) {
      EXPECT_EQ(plain_count(), count());
      EXPECT_THAT(lock_.ReleaseRead(), IsOk());
    } else {
      EXPECT_THAT(taken, StatusIs(absl::StatusCode::kAborted,
                                  HasSubstr(absl::StrCat("pid ", dead, " "))));
      EXPECT_THAT(lock_.AcquireAbandoned(), IsOk());
      plain_count() = count();
      EXPECT_THAT(lock_.MarkRepaired(), IsOk());
      EXPECT_THAT(lock_.ReleaseWrite(), IsOk());
    }
    EXPECT_THAT(WriteOnce(), IsOk());
    EXPECT_EQ(lock_.ToString(), "RwLock(free)");
    return taken.ok();
  }

  void KillEverywhere(StepKiller& killer,
                      absl::FunctionRef<void(const Killed&)> check) {
    const absl::StatusOr<std::vector<int64_t>> points = killer.SomePoints(300);
    ASSERT_THAT(points, IsOk());
    for (const int64_t at : *points) {
      SCOPED_TRACE(absl::StrCat("killed at instruction ", at));
      const absl::StatusOr<Killed> killed = killer.KillAt(at);
      ASSERT_THAT(killed, IsOk());
      check(*killed);
      if (HasFailure()) return;
    }
  }

  RwLockCore lock_{state().core, absl::MakeSpan(state().cells), members()};
};

TEST_F(RwLockCoreStepTest, Reader) {
  StepKiller killer([&] { return BecomeMember(); }, [&] { return ReadOnce(); });
  KillEverywhere(killer, [&](const Killed&) {
    EXPECT_THAT(WriteOnce(), IsOk());
    EXPECT_THAT(ReadOnce(), IsOk());
  });
}

TEST_F(RwLockCoreStepTest, Writer) {
  StepKiller killer([&] { return BecomeMember(); },
                    [&] { return WriteOnce(); });
  int whole = 0;
  int told = 0;
  KillEverywhere(killer, [&](const Killed& killed) {
    ++(ExpectWholeOrToldOf(killed.pid) ? whole : told);
  });
  EXPECT_GT(whole, 0);
  EXPECT_GT(told, 0);
}

// The test reads until the writer sleeps.
TEST_F(RwLockCoreStepTest, WriterThatWaitsForAReader) {
  const auto leave = [&] { lock_.ReleaseRead().IgnoreError(); };
  StepKiller killer(
      [&]() -> absl::Status {
        MP_RETURN_IF_ERROR(BecomeMember());
        count() = plain_count();
        return absl::OkStatus();
      },
      [&] { return WriteOnce(); }, {.on_blocked = leave});
  ASSERT_THAT(lock_.AcquireRead(kLongWait), IsOk());
  KillEverywhere(killer, [&](const Killed& killed) {
    leave();
    ExpectWholeOrToldOf(killed.pid);
    ASSERT_THAT(lock_.AcquireRead(kLongWait), IsOk());
  });
}

// The test writes until the reader sleeps.
TEST_F(RwLockCoreStepTest, ReaderThatWaitsForAWriter) {
  const auto leave = [&] { lock_.ReleaseWrite().IgnoreError(); };
  StepKiller killer([&] { return BecomeMember(); }, [&] { return ReadOnce(); },
                    {.on_blocked = leave});
  ASSERT_THAT(lock_.AcquireWrite(kLongWait), IsOk());
  KillEverywhere(killer, [&](const Killed&) {
    leave();
    EXPECT_THAT(ReadOnce(), IsOk());
    ASSERT_THAT(lock_.AcquireWrite(kLongWait), IsOk());
  });
}

}  // namespace
}  // namespace mp::internal
