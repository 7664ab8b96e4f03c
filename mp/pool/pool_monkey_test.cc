// Kills and stops workers of a pool at random while it maps, and holds against
// what its tasks have noted what it says of each.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/future.h"
#include "mp/pool/internal/pool_test_fixture.h"
#include "mp/pool/internal/test_notes.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/internal/start_method_test_fixture.h"
#include "mp/testing/resident_memory.h"
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
using ::mp::testing::IsOkAndHolds;
using ::mp::testing::ResidentBytes;
using ::mp::testing::Scaled;
using ::mp::testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr int kWorkers = 8;

int Negative(int item) { return -item; }

// Short, but long enough now and then that a worker is likely to die in it.
int NoteAndWork(int item) {
  TestNotes::Mine().Begin(item);
  if (item % 64 == 0) absl::SleepFor(absl::Microseconds(500));
  TestNotes::Mine().End(item);
  return -item;
}

bool StopsAt(int item) { return item % 2000 == 1017; }

int NoteAndStopAtTimes(int item) {
  TestNotes::Mine().Begin(item);
  if (StopsAt(item)) raise(SIGSTOP);
  TestNotes::Mine().End(item);
  return -item;
}

// The pid in "the worker that ran it was lost: PoolWorker-3 (pid 4711, ...".
pid_t PidIn(const absl::Status& status) {
  const std::string message(status.message());
  const size_t at = message.find("(pid ");
  return at == std::string::npos ? 0 : std::atoi(message.c_str() + at + 5);
}

// Whether a process has a file of /dev/shm mapped, which could outlive it.
bool HasNamedMemory(pid_t pid) {
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  std::string line;
  while (std::getline(maps, line)) {
    if (absl::StrContains(line, " /dev/shm/")) return true;
  }
  return false;
}

// Sends a signal to one worker after the other, so many spread over a run of
// so many items that begins now.
class Monkey {
 public:
  struct Options {
    int signal;
    int times;
    int items;
  };

  Monkey(const Pool& pool, const TestNotes& notes, const Options& options)
      : pool_(pool), notes_(notes), options_(options), thread_([this] {
          for (int i = 0; i < options_.times && !is_over_; ++i) HitOne(i);
        }) {}
  ~Monkey() { Stop(); }

  void Stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Once it has stopped.
  const std::multiset<pid_t>& hit() const { return hit_; }

 private:
  static constexpr int64_t kItemsBetween = 50;

  void HitOne(int number) {
    // Some always get to work: a pool whose workers all die before is broken.
    const int64_t due =
        std::max(from_ + int64_t{options_.items} * number / options_.times,
                 last_hit_at_ + kItemsBetween);
    while (!is_over_ && notes_.begun() < due) {
      absl::SleepFor(absl::Microseconds(100));
    }
    absl::SleepFor(absl::Microseconds(random_() % 500));
    while (!is_over_) {
      const std::vector<pid_t> pids = pool_.pids();
      if (pids.empty()) continue;
      const pid_t pid = pids[random_() % pids.size()];
      if (hit_.contains(pid)) continue;  // its death is not yet known
      if (kill(pid, options_.signal) == 0) hit_.insert(pid);
      last_hit_at_ = notes_.begun();
      return;
    }
  }

  const Pool& pool_;
  const TestNotes& notes_;
  const Options options_;
  const int64_t from_ = notes_.begun();
  int64_t last_hit_at_ = from_;
  std::mt19937_64 random_{testing::TestSeed()};
  std::atomic<bool> is_over_ = false;
  std::multiset<pid_t> hit_;
  std::thread thread_;
};

class PoolMonkeyTest : public PoolTestFixture {
 protected:
  PoolMonkeyTest() : PoolTestFixture(kWorkers, kLong) {
    RecordProperty("seed", absl::StrCat(testing::TestSeed()));
  }
};

MP_INSTANTIATE_TEST_SUITE(PoolMonkeyTest, RealStartMethods);

// A lost item was the last that its worker began, or that worker had not yet
// come so far as to note it; no worker takes two with it.
void ExpectWasRunning(const TestNotes& notes, int item, pid_t pid,
                      const std::multiset<pid_t>& hit) {
  EXPECT_TRUE(hit.contains(pid)) << "item " << item << ", pid " << pid;
  if (notes.begun(item) == 0) return;
  EXPECT_THAT(notes.LastBegunBy(pid), Contains(item)) << "pid " << pid;
}

TEST_P(PoolMonkeyTest, KilledWorkersCostOnlyWhatTheyRan) {
  const int items = Scaled(100'000, 100'000);
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  Monkey monkey(*pool, *notes, {SIGKILL, Scaled(100, 1000), items});
  const auto results =
      pool->MapEach(NoteAndWork, Numbers(items), {.chunk_size = 20});
  monkey.Stop();

  ASSERT_EQ(results.size(), static_cast<size_t>(items));
  std::set<pid_t> blamed;
  int lost = 0, lost_unnoted = 0;
  for (int i = 0; i < items; ++i) {
    if (results[i].ok()) {
      ASSERT_EQ(*results[i], -i);
      ASSERT_EQ(notes->begun(i), 1) << i;
      ASSERT_EQ(notes->ended(i), 1) << i;
      continue;
    }
    EXPECT_THAT(results[i],
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("SIGKILL")));
    const pid_t pid = PidIn(results[i].status());
    EXPECT_LE(notes->begun(i), 1) << i;
    ExpectWasRunning(*notes, i, pid, monkey.hit());
    blamed.insert(pid);
    ++lost;
    if (notes->begun(i) == 0) ++lost_unnoted;
  }
  EXPECT_EQ(blamed.size(), static_cast<size_t>(lost));
  EXPECT_LE(monkey.hit().size(), static_cast<size_t>(Scaled(100, 1000)));
  RecordProperty("lost", lost);
  RecordProperty("lost_unnoted", lost_unnoted);
  RecordProperty("killed", static_cast<int>(monkey.hit().size()));
  EXPECT_THAT(pool->Map(Negative, Numbers(100)), IsOk());
}

TEST_P(PoolMonkeyTest, RetriedItemsAllSucceed) {
  const int items = Scaled(10'000, 100'000);
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  Monkey monkey(*pool, *notes, {SIGKILL, Scaled(40, 400), items});
  const auto results = pool->Map(NoteAndWork, Numbers(items),
                                 {.chunk_size = 20, .retries = 1000});
  monkey.Stop();
  ASSERT_THAT(results, IsOk());
  for (int i = 0; i < items; ++i) ASSERT_EQ((*results)[i], -i);
}

TEST_P(PoolMonkeyTest, TasksThatStopTheirWorkersAreLateAndAllOthersRight) {
  const int items = Scaled(10'000, 100'000);
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  // The limit is long enough for all that go on, however busy the machine.
  const auto results = pool->MapEach(NoteAndStopAtTimes, Numbers(items),
                                     {.chunk_size = 20,
                                      .time_limit = absl::Seconds(3),
                                      .grace = absl::Milliseconds(1)});
  ASSERT_EQ(results.size(), static_cast<size_t>(items));
  for (int i = 0; i < items; ++i) {
    EXPECT_EQ(notes->begun(i), 1) << i;
    if (StopsAt(i)) {
      EXPECT_THAT(results[i], StatusIs(absl::StatusCode::kDeadlineExceeded));
      EXPECT_EQ(notes->ended(i), 0) << i;
    } else {
      ASSERT_THAT(results[i], IsOkAndHolds(-i));
    }
  }
  EXPECT_THAT(pool->Map(Negative, Numbers(100)), IsOk());
}

// Of two, so that there is one that goes on.
TEST_P(PoolMonkeyTest, WhatAStoppedWorkerHasNotBegunRunsElsewhere) {
  auto pool = MakePool({.processes = 2});
  ASSERT_THAT(pool, IsOk());
  for (int round = 0; round < 3; ++round) {
    const std::vector<pid_t> pids = pool->pids();
    ASSERT_EQ(pids.size(), 2u);
    const pid_t stopped = pids[round % 2];
    kill(stopped, SIGSTOP);
    EXPECT_THAT(pool->Map(Negative, Numbers(100)), IsOk());
    kill(stopped, SIGCONT);
  }
}

// Wherever they are stopped, if they go on some time.
TEST_P(PoolMonkeyTest, StoppedWorkersThatGoOnCostAtMostWhatTheyRan) {
  const int items = Scaled(10'000, 100'000);
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  Monkey monkey(*pool, *notes, {SIGSTOP, kWorkers - 1, items / 2});
  const auto mapped = pool->MapAsync(NoteAndWork, Numbers(items),
                                     {.chunk_size = 20,
                                      .time_limit = absl::Seconds(2),
                                      .grace = absl::Milliseconds(1)});
  // Some are past their limit by then.
  mapped.Wait(absl::Seconds(3));
  monkey.Stop();
  for (const pid_t pid : monkey.hit()) kill(pid, SIGCONT);
  ASSERT_TRUE(mapped.Wait(kLong));

  if (mapped.Get().ok()) {
    for (int i = 0; i < items; ++i) ASSERT_EQ((*mapped.Get())[i], -i);
  } else {
    EXPECT_THAT(mapped.Get(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  int unended = 0;
  for (int i = 0; i < items; ++i) {
    ASSERT_LE(notes->begun(i), 1) << i;
    if (notes->ended(i) == 0) ++unended;
  }
  EXPECT_LE(unended, static_cast<int>(monkey.hit().size()));
  EXPECT_THAT(pool->Map(Negative, Numbers(100)), IsOk());
}

TEST_P(PoolMonkeyTest, WhatStaysDoesNotGrowWithTheDead) {
  if (testing::kKeepsFreedMemory) GTEST_SKIP() << "freed memory is kept";
  const int items = 5'000;
  const auto notes = TestNotes::Create();
  ASSERT_THAT(notes, IsOk());
  auto pool = MakePool({.initializer = notes->Initializer()});
  ASSERT_THAT(pool, IsOk());
  std::vector<int64_t> resident;
  for (int round = 0; round < 4; ++round) {
    Monkey monkey(*pool, *notes, {SIGKILL, 50, items});
    pool->MapEach(NoteAndWork, Numbers(items), {.chunk_size = 20});
    monkey.Stop();
    EXPECT_THAT(pool->Map(Negative, Numbers(100), {.retries = 10}), IsOk());
    resident.push_back(ResidentBytes());
    EXPECT_FALSE(HasNamedMemory(getpid()));
    for (const pid_t pid : pool->pids()) EXPECT_FALSE(HasNamedMemory(pid));
  }
  constexpr int64_t kMargin = 8 << 20;  // of what the allocator may do
  EXPECT_LE(resident.back(), resident.front() + kMargin);
}

}  // namespace
}  // namespace mp
