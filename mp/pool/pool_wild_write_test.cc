// Workers that write over the memory by which they and their pool talk.

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/pool.h"
#include "mp/process/context.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"

namespace mp {
namespace {

using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::internal::WorkerMemory;
using ::mp::testing::IsOk;
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::StatusIs;
using ::testing::HasSubstr;

// Where a worker has the memory that it shares with its pool. After a fork
// there may be others' too, of workers that have ended.
std::vector<WorkerMemory*> FindMemories() {
  std::vector<WorkerMemory*> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    if (absl::StrContains(line, "/memfd:") &&
        std::sscanf(line.c_str(), "%zx-%zx rw", &begin, &end) == 2 &&
        (end - begin + 4095) / 4096 == (sizeof(WorkerMemory) + 4095) / 4096) {
      found.push_back(reinterpret_cast<WorkerMemory*>(begin));
    }
  }
  return found;
}

int Same(int x) { return x; }

// Dies of it, before it can publish anything else.
void SpoilAll(int byte) {
  for (WorkerMemory* const memory : FindMemories()) {
    std::memset(static_cast<void*>(memory), byte, sizeof(*memory));
  }
  raise(SIGKILL);
}

int SpoilResultsAt13(int x) {
  if (x != 13) return x;
  for (WorkerMemory* const memory : FindMemories()) {
    memory->board.results.written += 3;
  }
  raise(SIGKILL);
  return x;
}

class PoolWildWriteTest : public PoolTestFixture {
 protected:
  PoolWildWriteTest() : PoolTestFixture(/*processes=*/1) {}
};

MP_INSTANTIATE_TEST_SUITE(PoolWildWriteTest, RealStartMethods);

TEST_P(PoolWildWriteTest, CostsTheTaskThatDidIt) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  for (const int byte : {0xff, 0x01, 0x80}) {
    EXPECT_THAT(pool->Apply(SpoilAll, byte),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("it had written over the memory")))
        << byte;
    EXPECT_THAT(pool->Apply(Same, 5), IsOkAndHolds(5));
  }
}

TEST_P(PoolWildWriteTest, CostsNoOtherTasks) {
  auto pool = MakePool();
  ASSERT_THAT(pool, IsOk());
  const std::vector<int> numbers = Numbers(40);
  const auto results =
      pool->MapEach(SpoilResultsAt13, numbers, {.chunk_size = 8});
  for (int i = 0; i < 40; ++i) {
    const absl::StatusOr<int>& result = results[static_cast<size_t>(i)];
    if (i == 13) {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnavailable)) << i;
    } else {
      EXPECT_THAT(result, IsOkAndHolds(i));
    }
  }
}

}  // namespace
}  // namespace mp
