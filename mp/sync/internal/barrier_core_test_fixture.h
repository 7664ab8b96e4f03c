#ifndef MP_SYNC_INTERNAL_BARRIER_CORE_TEST_FIXTURE_H_
#define MP_SYNC_INTERNAL_BARRIER_CORE_TEST_FIXTURE_H_

#include <unistd.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "mp/sync/internal/barrier_core.h"
#include "mp/sync/internal/shared_state_test_fixture.h"
#include "mp/testing/child.h"

namespace mp::internal {

// What the processes of a test of BarrierCore share.
struct BarrierAndCells {
  static constexpr int kCells = 3;

  BarrierCoreState core;
  PartyCell cells[kCells];
};

class BarrierCoreTestBase : public SharedStateTest<BarrierAndCells> {
 protected:
  // All that are made are the same barrier.
  BarrierCore Make(int parties = BarrierAndCells::kCells) {
    return BarrierCore(state().core,
                       absl::MakeSpan(state().cells).first(parties), members());
  }

  // Starts a child that calls `body`, in which it waits in the barrier, and
  // exits with the code of the answer, in order. Comes back when it waits.
  testing::Child StartPartyOf(BarrierCore& barrier,
                              absl::FunctionRef<absl::Status()> body) {
    const int there = barrier.Waiting();
    testing::Child child = testing::RunInChild([&]() -> absl::Status {
      const absl::Status status = body();
      members().Leave();
      _exit(static_cast<int>(status.code()));
    });
    AwaitCondition([&] { return barrier.Waiting() > there; });
    return child;
  }

  static constexpr int kGone = static_cast<int>(absl::StatusCode::kOk);
  static constexpr int kTold = static_cast<int>(absl::StatusCode::kAborted);
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_BARRIER_CORE_TEST_FIXTURE_H_
