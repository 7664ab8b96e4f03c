#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/process/process.h"
#include "mp/sync/barrier.h"
#include "mp/sync/internal/placed.h"
#include "mp/testing/status_matchers.h"

// CPython's _TestBarrier: what those tests assert, with processes of each start
// method as the parties.

namespace mp {
namespace {

using internal::AllStartMethods;
using internal::kLong;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

constexpr int kParties = 5;

// Where the parties count what has happened.
struct Counts {
  std::atomic<int> at[8];
};
using SharedCounts = internal::Placed<Counts>;

class BarrierConformanceTest : public internal::StartMethodTest {
 protected:
  // Runs a function as all the parties: this process is the last of them.
  template <typename Body>
  void RunParties(Body body) {
    std::vector<Process> processes;
    for (int i = 0; i < kParties - 1; ++i) {
      processes.emplace_back(options(), body, barrier_, counts_);
      ASSERT_THAT(processes.back().Start(), IsOk());
    }
    EXPECT_THAT(body(barrier_, counts_), IsOk());
    for (Process& process : processes) {
      ASSERT_THAT(process.Join(kLong), IsOk());
      EXPECT_EQ(process.exitcode(), 0);
    }
  }
  std::atomic<int>& count(int i) { return counts_->at[i]; }

  Barrier barrier_ = *Barrier::Create({.parties = kParties});
  SharedCounts counts_ = *SharedCounts::Create();
};
MP_INSTANTIATE_TEST_SUITE(BarrierConformanceTest, AllStartMethods);

// CPython's multipass()
absl::Status Pass(Barrier barrier, SharedCounts counts, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    counts->at[0] += 1;
    MP_RETURN_IF_ERROR(barrier.Wait(kLong).status());
    if (counts->at[0] < kParties * (i + 1)) {
      return absl::InternalError("not all were there");
    }
    if (counts->at[1] > kParties * (i + 1) - 1) {
      return absl::InternalError("one is ahead");
    }
    counts->at[1] += 1;
    MP_RETURN_IF_ERROR(barrier.Wait(kLong).status());
  }
  return barrier.IsBroken() ? absl::InternalError("broken") : absl::OkStatus();
}

// test_barrier
TEST_P(BarrierConformanceTest, AllPassTogether) {
  RunParties([](Barrier barrier, SharedCounts counts) {
    return Pass(barrier, counts, 1);
  });
  EXPECT_EQ(barrier_.waiting(), 0);
}

// test_barrier_10
TEST_P(BarrierConformanceTest, TenRoundsFollowEachOther) {
  RunParties([](Barrier barrier, SharedCounts counts) {
    return Pass(barrier, counts, 10);
  });
  EXPECT_EQ(count(0), 10 * kParties);
}

// test_wait_return
TEST_P(BarrierConformanceTest, EachPartyGetsANumberOfItsOwn) {
  RunParties([](Barrier barrier, SharedCounts counts) -> absl::Status {
    MP_ASSIGN_OR_RETURN(const int index, barrier.Wait(kLong));
    counts->at[index] += 1;
    return barrier.Wait(kLong).status();
  });
  for (int i = 0; i < kParties; ++i) EXPECT_EQ(count(i), 1) << i;
}

// test_action
TEST_P(BarrierConformanceTest, TheActionRunsOnceInARound) {
  RunParties([](Barrier barrier, SharedCounts counts) -> absl::Status {
    const auto action = [&] {
      counts->at[0] += 1;
      return absl::OkStatus();
    };
    MP_RETURN_IF_ERROR(barrier.Wait(action, kLong).status());
    if (counts->at[0] == 1) return absl::OkStatus();
    return absl::InternalError("not once");
  });
  EXPECT_EQ(count(0), 1);
}

// test_abort
TEST_P(BarrierConformanceTest, OnePartyBreaksItForTheOthers) {
  RunParties([](Barrier barrier, SharedCounts counts) -> absl::Status {
    MP_ASSIGN_OR_RETURN(const int index, barrier.Wait(kLong));
    if (index == kParties / 2) return barrier.Abort();
    const absl::Status told = barrier.Wait(kLong).status();
    counts->at[absl::IsAborted(told) ? 0 : 1] += 1;
    return absl::OkStatus();
  });
  EXPECT_EQ(count(0), kParties - 1);
  EXPECT_EQ(count(1), 0);
  EXPECT_TRUE(barrier_.IsBroken());
  EXPECT_THAT(barrier_.Wait(kLong), StatusIs(absl::StatusCode::kAborted));
}

// test_abort_and_reset
TEST_P(BarrierConformanceTest, IsOfUseAgainAfterAReset) {
  Barrier second = *Barrier::Create({.parties = kParties});
  const auto body = [](Barrier barrier, SharedCounts counts,
                       Barrier second) -> absl::Status {
    MP_ASSIGN_OR_RETURN(int index, barrier.Wait(kLong));
    if (index == kParties / 2) {
      MP_RETURN_IF_ERROR(barrier.Abort());
    } else if (absl::IsAborted(barrier.Wait(kLong).status())) {
      counts->at[0] += 1;
    }
    // All are there, none of them in the barrier, when one resets it.
    MP_ASSIGN_OR_RETURN(index, second.Wait(kLong));
    if (index == 0) MP_RETURN_IF_ERROR(barrier.Reset());
    MP_RETURN_IF_ERROR(second.Wait(kLong).status());
    MP_RETURN_IF_ERROR(barrier.Wait(kLong).status());
    counts->at[1] += 1;
    return absl::OkStatus();
  };
  std::vector<Process> processes;
  for (int i = 0; i < kParties - 1; ++i) {
    processes.emplace_back(options(), body, barrier_, counts_, second);
    ASSERT_THAT(processes.back().Start(), IsOk());
  }
  EXPECT_THAT(body(barrier_, counts_, second), IsOk());
  for (Process& process : processes) {
    ASSERT_THAT(process.Join(kLong), IsOk());
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(count(0), kParties - 1);
  EXPECT_EQ(count(1), kParties);
}

// test_timeout
TEST_P(BarrierConformanceTest, ATimeoutBreaksIt) {
  RunParties([](Barrier barrier, SharedCounts counts) -> absl::Status {
    MP_ASSIGN_OR_RETURN(const int index, barrier.Wait(kLong));
    // One does not come.
    if (index == kParties / 2) return absl::OkStatus();
    const absl::Status told = barrier.Wait(absl::Milliseconds(300)).status();
    counts->at[0] += absl::IsDeadlineExceeded(told) || absl::IsAborted(told);
    counts->at[1] += absl::IsDeadlineExceeded(told);
    return absl::OkStatus();
  });
  EXPECT_EQ(count(0), kParties - 1);
  EXPECT_GE(count(1), 1);
  EXPECT_TRUE(barrier_.IsBroken());
}

// test_single_thread
TEST_P(BarrierConformanceTest, OnePartyDoesNotWait) {
  const auto body = [](Barrier barrier) -> absl::Status {
    MP_RETURN_IF_ERROR(barrier.Wait().status());
    return barrier.Wait().status();
  };
  EXPECT_EQ(Run(body, *Barrier::Create({.parties = 1})), 0);
}

// test_thousand, with a count instead of a pipe
TEST_P(BarrierConformanceTest, AThousandRoundsAreInOrder) {
  RunParties([](Barrier barrier, SharedCounts counts) -> absl::Status {
    for (int i = 0; i < 1000; ++i) {
      if (counts->at[0]++ / kParties != i) {
        return absl::InternalError("not in order");
      }
      MP_RETURN_IF_ERROR(barrier.Wait(kLong).status());
    }
    return absl::OkStatus();
  });
  EXPECT_EQ(count(0), 1000 * kParties);
}

TEST(BarrierHandleTest, AnEmptyOneSaysSo) {
  Barrier barrier;
  const auto is_empty = StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("the handle is empty"));
  EXPECT_THAT(barrier.Wait(), is_empty);
  EXPECT_THAT(barrier.Wait([] { return absl::OkStatus(); }), is_empty);
  EXPECT_THAT(barrier.Abort(), is_empty);
  EXPECT_THAT(barrier.Reset(), is_empty);
  EXPECT_EQ(barrier.parties(), 0);
  EXPECT_EQ(barrier.waiting(), 0);
  EXPECT_FALSE(barrier.IsBroken());
  EXPECT_EQ(barrier.ToString(), "Barrier(empty)");
}

TEST(BarrierCreateTest, RefusesNumbersThatMakeNoSense) {
  const auto refused =
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 4096"));
  EXPECT_THAT(Barrier::Create({.parties = 0}), refused);
  EXPECT_THAT(Barrier::Create({.parties = 4097}), refused);
  EXPECT_EQ(Barrier::Create({.parties = 4096})->parties(), 4096);
}

TEST(BarrierAtTest, LiesInMemoryOfTheProgramsOwn) {
  // Not on the stack, which g++'s address sanitizer aligns by 32 bytes.
  const auto state = std::make_unique<BarrierStateOf<1>>();
  const Arena arena = *Arena::Default();
  Barrier barrier = *Barrier::At(state.get(), arena);
  EXPECT_EQ(barrier.parties(), 1);
  EXPECT_THAT(barrier.Wait(), IsOkAndHolds(0));
  BarrierStateOf<1>* const none = nullptr;
  EXPECT_THAT(Barrier::At(none, arena),
              StatusIs(absl::StatusCode::kInvalidArgument));
  Process process([](Barrier) {}, barrier);
  EXPECT_THAT(process.Start(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("call At() there")));
}

}  // namespace
}  // namespace mp
