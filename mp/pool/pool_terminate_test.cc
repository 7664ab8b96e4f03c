// Ends pools at random moments of their work.

#include <signal.h>

#include <cstddef>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/internal/test_notes.h"
#include "mp/pool/pool.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp {
namespace {

using ::mp::internal::kLong;
using ::mp::internal::Numbers;
using ::mp::internal::PoolTestFixture;
using ::mp::internal::RealStartMethods;
using ::mp::internal::TestNotes;
using ::mp::testing::IsOk;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;

constexpr int kItems = 20'000;

int Negative(int item) { return -item; }
int NoteAndWork(int item) {
  TestNotes::Mine().Begin(item);
  if (item % 64 == 0) absl::SleepFor(absl::Microseconds(500));
  TestNotes::Mine().End(item);
  return -item;
}

class PoolTerminateTest : public PoolTestFixture {
 protected:
  PoolTerminateTest() : PoolTestFixture(/*processes=*/4, kLong) {
    RecordProperty("seed", absl::StrCat(testing::TestSeed()));
  }

  // Has a pool begin to map, and calls `end` with it somewhere on the way. What
  // is there then has one result for each item: its value, or the given error.
  template <typename End>
  void EndSomewhere(End&& end) {
    const auto notes = TestNotes::Create();
    ASSERT_THAT(notes, IsOk());
    auto created = MakePool({.initializer = notes->Initializer()});
    ASSERT_THAT(created, IsOk());
    std::optional<Pool> pool = *std::move(created);
    std::vector<Future<int>> ones;
    for (int i = 0; i < 10; ++i) ones.push_back(pool->ApplyAsync(Negative, i));
    const auto all = pool->MapAsync(NoteAndWork, items_, {.chunk_size = 7});
    const int64_t moment = static_cast<int64_t>(random_() % (kItems / 4));
    while (notes->begun() < moment) absl::SleepFor(absl::Microseconds(50));
    end(pool);

    ASSERT_TRUE(all.Wait(kLong)) << "after " << moment << " items";
    if (!all.Get().ok()) {
      EXPECT_THAT(all.Get(), StatusIs(absl::StatusCode::kCancelled));
    }
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(ones[i].Wait(kLong));
      if (ones[i].Get().ok()) {
        EXPECT_EQ(*ones[i].Get(), -i);
      }
    }
    for (int i = 0; i < kItems; ++i) EXPECT_LE(notes->begun(i), 1) << i;
  }

  std::mt19937_64 random_{testing::TestSeed()};

 private:
  const std::vector<int> items_ = Numbers(kItems);
};

MP_INSTANTIATE_TEST_SUITE(PoolTerminateTest, RealStartMethods);

TEST_P(PoolTerminateTest, TerminateAtAnyMomentEndsAll) {
  for (int i = 0; i < Scaled(5, 100); ++i) {
    EndSomewhere([](std::optional<Pool>& pool) {
      pool->Terminate();
      EXPECT_THAT(pool->Join(kLong), IsOk());
      EXPECT_THAT(pool->Apply(Negative, 1),
                  StatusIs(absl::StatusCode::kFailedPrecondition));
    });
  }
}

TEST_P(PoolTerminateTest, DestructionAtAnyMomentEndsAll) {
  for (int i = 0; i < Scaled(5, 100); ++i) {
    EndSomewhere([](std::optional<Pool>& pool) { pool.reset(); });
  }
}

TEST_P(PoolTerminateTest, EndsAlsoWhileItsWorkersDie) {
  for (int i = 0; i < Scaled(5, 100); ++i) {
    EndSomewhere([this](std::optional<Pool>& pool) {
      const std::vector<pid_t> pids = pool->pids();
      // Some of them stopped, which cannot heed that they are to end.
      for (size_t p = 0; p < pids.size(); ++p) {
        kill(pids[p], p % 2 == 0 ? SIGKILL : SIGSTOP);
      }
      if (random_() % 2 == 0) pool->Terminate();
      pool.reset();
    });
  }
}

TEST_P(PoolTerminateTest, CloseAtAnyMomentFinishesAll) {
  const std::vector<int> items = Numbers(1000);
  for (int i = 0; i < Scaled(5, 50); ++i) {
    auto pool = MakePool();
    ASSERT_THAT(pool, IsOk());
    const auto all = pool->MapAsync(Negative, items, {.chunk_size = 3});
    absl::SleepFor(absl::Microseconds(random_() % 3000));
    pool->Close();
    ASSERT_THAT(pool->Join(kLong), IsOk());
    ASSERT_TRUE(all.done());
    ASSERT_THAT(all.Get(), IsOk());
    EXPECT_EQ(all.Get()->back(), -999);
  }
}

}  // namespace
}  // namespace mp
