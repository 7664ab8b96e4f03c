#include "mp/sync/death_ratios.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/sync/barrier.h"
#include "mp/sync/bounded_semaphore.h"
#include "mp/sync/condition.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"
#include "mp/sync/rw_lock.h"
#include "mp/testing/child.h"

namespace mp {
namespace {

using testing::Child;
using testing::Measure;
using testing::PairedBenchmark;
using testing::RunInChild;

constexpr int kSurvivors = 3;

// The worst of so many is about what one of a hundred is beyond.
constexpr int kDeaths = 70;

// What the processes share.
struct Board {
  std::atomic<int> ready;
  std::atomic<int64_t> last_back;
};

// A death, and what it is to others.
struct Scene {
  std::string name;
  // Whether those that survive are there before the one that dies.
  bool is_survivors_turn = false;
  // What the one that dies does before.
  std::function<absl::Status()> hold;
  // Waits, and returns OK if it is told, or gets what was held.
  std::function<absl::Status()> survive;
  // Makes all of it as new.
  std::function<absl::Status()> restore;
};

absl::Status IsTold(const absl::Status& status) {
  return absl::IsAborted(status) ? absl::OkStatus()
                                 : absl::InternalError("not told");
}

template <typename L>
absl::Status Repair(L& lock) {
  MP_RETURN_IF_ERROR(lock.AcquireAbandoned());
  return lock.MarkRepaired();
}

template <typename L>
Scene OfLock(const char* name, L lock) {
  return {.name = name,
          .hold = [lock]() mutable { return lock.Acquire(); },
          .survive = [lock]() mutable { return IsTold(lock.Acquire()); },
          .restore = [lock]() mutable -> absl::Status {
            MP_RETURN_IF_ERROR(Repair(lock));
            return lock.Release();
          }};
}

Scene OfRwLock() {
  RwLock lock = *RwLock::Create();
  return {.name = "RwLock",
          .hold = [lock]() mutable { return lock.AcquireWrite(); },
          .survive = [lock]() mutable { return IsTold(lock.AcquireRead()); },
          .restore = [lock]() mutable -> absl::Status {
            MP_RETURN_IF_ERROR(Repair(lock));
            return lock.ReleaseWrite();
          }};
}

Scene OfCondition() {
  Condition condition = *Condition::Create();
  return {.name = "Condition",
          .is_survivors_turn = true,
          .hold = [condition]() mutable { return condition.Acquire(); },
          .survive = [condition]() mutable -> absl::Status {
            MP_RETURN_IF_ERROR(condition.Acquire());
            return IsTold(condition.Wait());
          },
          .restore = [condition]() mutable -> absl::Status {
            MP_RETURN_IF_ERROR(Repair(condition));
            return condition.Release();
          }};
}

Scene OfBoundedSemaphore() {
  BoundedSemaphore semaphore = *BoundedSemaphore::Create();
  return {.name = "BoundedSemaphore",
          .hold = [semaphore]() mutable { return semaphore.Acquire(); },
          .survive = [semaphore]() mutable -> absl::Status {
            MP_RETURN_IF_ERROR(semaphore.Acquire());
            return semaphore.Release();
          },
          .restore = [] { return absl::OkStatus(); }};
}

// One party more than there is, so that all of them wait.
Scene OfBarrier() {
  Barrier barrier = *Barrier::Create({.parties = kSurvivors + 2});
  const auto wait = [barrier]() mutable {
    return IsTold(barrier.Wait().status());
  };
  return {.name = "Barrier",
          .hold = wait,
          .survive = wait,
          .restore = [barrier]() mutable { return barrier.Reset(); }};
}

// Leaves the pages of the process touched, and says that it is there.
Child StartHolder(const Scene& scene, Board& board) {
  return RunInChild([&]() -> absl::Status {
    ++board.ready;
    MP_RETURN_IF_ERROR(scene.hold());
    while (true) pause();
  });
}

Child StartSurvivor(const Scene& scene, Board& board) {
  return RunInChild([&]() -> absl::Status {
    ++board.ready;
    MP_RETURN_IF_ERROR(scene.survive());
    const int64_t now = absl::GetCurrentTimeNanos();
    int64_t before = board.last_back;
    while (before < now &&
           !board.last_back.compare_exchange_weak(before, now)) {
    }
    return absl::OkStatus();
  });
}

// Waits until all that were started have begun to wait, in all likelihood.
void Settle(const Board& board, int started) {
  while (board.ready < started) usleep(100);
  usleep(3000);
}

// Returns how long it took until the last one was back.
absl::StatusOr<absl::Duration> TimeOne(const Scene& scene, Board& board) {
  board.ready = 0;
  board.last_back = 0;
  std::vector<Child> survivors;
  const auto start_survivors = [&] {
    for (int i = 0; i < kSurvivors; ++i) {
      survivors.push_back(StartSurvivor(scene, board));
    }
  };
  if (scene.is_survivors_turn) {
    start_survivors();
    Settle(board, kSurvivors);
  }
  Child holder = StartHolder(scene, board);
  Settle(board, scene.is_survivors_turn ? kSurvivors + 1 : 1);
  if (!scene.is_survivors_turn) start_survivors();
  Settle(board, kSurvivors + 1);
  // Anywhere in the time from one look to the next.
  usleep(absl::GetCurrentTimeNanos() % 50'000);
  const int64_t begin = absl::GetCurrentTimeNanos();
  holder.Kill(SIGKILL);
  for (Child& survivor : survivors) {
    if (survivor.Wait().code != 0) return absl::InternalError("not told");
  }
  MP_RETURN_IF_ERROR(scene.restore());
  return absl::Nanoseconds(board.last_back - begin);
}

// The worst of `runs`, as if each had taken as long.
Measure Worst(Scene scene, Board& board) {
  return [scene, &board](int runs) -> absl::StatusOr<absl::Duration> {
    absl::Duration worst;
    for (int i = 0; i < runs; ++i) {
      MP_ASSIGN_OR_RETURN(const absl::Duration time, TimeOne(scene, board));
      worst = std::max(worst, time);
    }
    return worst * runs;
  };
}

}  // namespace

absl::Status RunDeathRatios(PairedBenchmark& benchmark) {
  void* const memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return absl::ResourceExhaustedError("mmap");
  Board& board = *new (memory) Board();
  const Measure limit = [](int runs) -> absl::StatusOr<absl::Duration> {
    return absl::Milliseconds(100) * runs;
  };
  for (const Scene& scene :
       {OfLock("Lock", *Lock::Create()), OfLock("RLock", *RLock::Create()),
        OfRwLock(), OfCondition(), OfBoundedSemaphore(), OfBarrier()}) {
    benchmark.Run(
        {.name = absl::StrCat("death to survivors' return, ", scene.name,
                              ", worst of ", kDeaths, " / 100 ms"),
         .ours = Worst(scene, board),
         .floor = limit,
         .runs = kDeaths});
  }
  return absl::OkStatus();
}

}  // namespace mp
