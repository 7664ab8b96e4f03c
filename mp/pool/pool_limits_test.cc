#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"
#include "mp/base/status_macros.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/cpu_pins.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/cpu_count.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::AllowedCpus;
using ::mp::internal::AllStartMethods;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// More than a worker has at first, with a sanitizer too.
constexpr int64_t kLimit = int64_t{400} << 20;
constexpr size_t kBallast = size_t{100} << 20;

pid_t Pid(int) { return getpid(); }

// Each call leaves some memory in use; 4 of them are too much.
pid_t Leak(int) {
  void* const memory = mmap(nullptr, kBallast, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return memory == MAP_FAILED ? -1 : getpid();
}

std::vector<int> Cpus(int) { return AllowedCpus(); }

void Raise(int signal) { raise(signal); }

absl::StatusOr<int> SizeOfNestedPool() {
  MP_ASSIGN_OR_RETURN(Pool pool,
                      Pool::Create({.context = StartMethod::kThread}));
  MP_RETURN_IF_ERROR(pool.Apply(Pid, 0).status());
  return pool.size();
}
absl::Status StartNestedProcesses() {
  return Pool::Create({.processes = 1, .context = StartMethod::kFork}).status();
}

class PoolLimitsTest : public PoolTestFixture {};

MP_INSTANTIATE_TEST_SUITE(PoolLimitsTest, AllStartMethods);

TEST_P(PoolLimitsTest, ANestedPoolHasItsShareOfTheCpus) {
  if (kThreadSanitizer && GetParam() == StartMethod::kFork) {
    GTEST_SKIP() << "Thread Sanitizer has no new threads in a forked child";
  }
  const int cpus = UsableCpuCount();
  for (const int processes : {1, 2, cpus + 1}) {
    auto pool = MakePool({.processes = processes});
    ASSERT_THAT(pool, IsOk());
    EXPECT_THAT(pool->Apply(SizeOfNestedPool),
                IsOkAndHolds(std::max(1, cpus / processes)));
  }
  EXPECT_THAT(SizeOfNestedPool(), IsOkAndHolds(cpus)) << "of no other pool";
}

TEST_P(PoolLimitsTest, RefusesWhatMakesNoSense) {
  EXPECT_THAT(MakePool({.max_worker_memory = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_worker_memory is -1")));
  if (GetParam() != StartMethod::kThread) return;
  EXPECT_THAT(
      MakePool({.max_worker_memory = 1}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("threads")));
  EXPECT_THAT(
      MakePool({.pin_cpus = true}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("threads")));
}

class PoolProcessLimitsTest : public PoolLimitsTest {};

MP_INSTANTIATE_TEST_SUITE(PoolProcessLimitsTest, RealStartMethods);

TEST_P(PoolProcessLimitsTest, ReplacesAWorkerThatHasTooMuchMemory) {
  auto pool = MakePool({.processes = 1, .max_worker_memory = kLimit});
  ASSERT_THAT(pool, IsOk());
  const auto pids = pool->Map(Leak, Numbers(15), {.chunk_size = 1});
  ASSERT_THAT(pids, IsOk());
  const std::set<pid_t> different(pids->begin(), pids->end());
  EXPECT_EQ(different.count(-1), 0u);
  EXPECT_GE(different.size(), 3u);
  EXPECT_LT(different.size(), 15u) << "replaced for nothing";
  EXPECT_EQ(pool->Insights().workers_lost, 0);
}

TEST_P(PoolProcessLimitsTest, LeavesOthersAlone) {
  auto pool = MakePool({.processes = 1, .max_worker_memory = kLimit});
  ASSERT_THAT(pool, IsOk());
  const auto pids = pool->Map(Pid, Numbers(25), {.chunk_size = 1});
  ASSERT_THAT(pids, IsOk());
  EXPECT_THAT(std::set<pid_t>(pids->begin(), pids->end()), SizeIs(1));
}

TEST_P(PoolProcessLimitsTest, PinsEachWorkerToOneCpu) {
  const std::vector<int> allowed = AllowedCpus();
  const int count = static_cast<int>(allowed.size());
  auto pool = MakePool({.processes = count, .pin_cpus = true});
  ASSERT_THAT(pool, IsOk());
  for (const pid_t pid : pool->pids()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    ASSERT_EQ(sched_getaffinity(pid, sizeof(set), &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), 1);
  }
  const auto cpus = pool->Map(Cpus, Numbers(3 * count), {.chunk_size = 1});
  ASSERT_THAT(cpus, IsOk());
  EXPECT_THAT(*cpus, Each(SizeIs(1)));
  for (const std::vector<int>& cpu : *cpus) {
    EXPECT_THAT(allowed, Contains(cpu[0]));
  }
  EXPECT_EQ(AllowedCpus(), allowed) << "the pool's own thread is pinned";
}

TEST_P(PoolProcessLimitsTest, PinsTheReplacementToTheSameCpu) {
  auto pool = MakePool({.processes = 1, .pin_cpus = true});
  ASSERT_THAT(pool, IsOk());
  const auto before = pool->Apply(Cpus, 0);
  ASSERT_THAT(before, IsOkAndHolds(SizeIs(1)));
  EXPECT_THAT(pool->Apply(Raise, SIGKILL),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(pool->Apply(Cpus, 0), before);
}

TEST_P(PoolProcessLimitsTest, ADaemonHasNoNestedProcesses) {
  if (kThreadSanitizer && GetParam() == StartMethod::kFork) {
    GTEST_SKIP() << "Thread Sanitizer has no new threads in a forked child";
  }
  auto pool = MakePool({.processes = 1});
  ASSERT_THAT(pool, IsOk());
  EXPECT_THAT(pool->Apply(StartNestedProcesses),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_P(PoolProcessLimitsTest, AStormOfRestartsEnds) {
  EXPECT_THAT(
      MakePool(
          {.processes = 2, .initializer = PoolInitializer(Raise, SIGTERM)}),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("one after the other"), HasSubstr("SIGTERM"))));
}

TEST_P(PoolProcessLimitsTest, IdleWorkersLeaveAndComeBack) {
  auto pool = MakePool({.processes = 3,
                        .min_processes = 1,
                        .idle_timeout = absl::Milliseconds(20)});
  ASSERT_THAT(pool, IsOk());
  EXPECT_EQ(pool->size(), 1);
  for (int round = 0; round < 2; ++round) {
    ASSERT_THAT(pool->Map(Pid, Numbers(30), {.chunk_size = 1}), IsOk());
    // It ends with the test's time otherwise.
    while (pool->size() > 1) absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(pool->Insights().workers_lost, 0);
}

}  // namespace
}  // namespace mp
