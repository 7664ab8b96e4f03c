#include "mp/pool/pool_floor.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/futex.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"
#include "mp/testing/paired_benchmark.h"

namespace mp {
namespace {

using testing::Child;
using testing::Measure;
using testing::RunInChild;

template <typename T>
absl::StatusOr<std::shared_ptr<T>> Share(size_t count) {
  const size_t bytes = count * sizeof(T);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return ErrnoStatus(errno, "mmap");
  return std::shared_ptr<T>(static_cast<T*>(memory),
                            [bytes](T* memory) { munmap(memory, bytes); });
}

// Waits without sleep.
template <typename Ready>
void SpinUntil(Ready ready) {
  while (true) {
    for (int i = 0; i < internal::kLooks; ++i) {
      if (ready()) return;
      internal::Pause();
    }
    sched_yield();
  }
}

struct Task {
  uint64_t function;
  uint64_t index;
  uint64_t argument;
};

// Any number of writers and readers.
//
// Source: Dmitry Vyukov, "Bounded MPMC queue", 1024cores.net.
class TaskRing {
 public:
  TaskRing() {
    for (uint64_t i = 0; i < kSlots; ++i) slots_[i].turn = i;
  }

  bool TryPut(const Task& task) {
    uint64_t at = written_.load(std::memory_order_relaxed);
    while (true) {
      Slot& slot = slots_[at % kSlots];
      const uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn < at) return false;
      if (turn > at) {
        at = written_.load(std::memory_order_relaxed);
      } else if (written_.compare_exchange_weak(at, at + 1,
                                                std::memory_order_relaxed)) {
        slot.task = task;
        slot.turn.store(at + 1, std::memory_order_release);
        return true;
      }
    }
  }

  bool TryGet(Task& task) {
    uint64_t at = taken_.load(std::memory_order_relaxed);
    while (true) {
      Slot& slot = slots_[at % kSlots];
      const uint64_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn < at + 1) return false;
      if (turn > at + 1) {
        at = taken_.load(std::memory_order_relaxed);
      } else if (taken_.compare_exchange_weak(at, at + 1,
                                              std::memory_order_relaxed)) {
        task = slot.task;
        slot.turn.store(at + kSlots, std::memory_order_release);
        return true;
      }
    }
  }

 private:
  static constexpr uint64_t kSlots = 1024;

  struct Slot {
    std::atomic<uint64_t> turn;
    Task task;
  };

  alignas(64) std::atomic<uint64_t> written_ = 0;
  alignas(64) std::atomic<uint64_t> taken_ = 0;
  alignas(64) Slot slots_[kSlots];
};

struct Rings {
  std::atomic<int> ready = 0;
  TaskRing tasks;
  TaskRing results;
};

void Echo(Rings& rings) {
  ++rings.ready;
  while (true) {
    Task task;
    SpinUntil([&] { return rings.tasks.TryGet(task); });
    SpinUntil([&] { return rings.results.TryPut(task); });
  }
}

void FeedAndCollect(Rings& rings, uint64_t tasks) {
  uint64_t fed = 0;
  uint64_t collected = 0;
  SpinUntil([&] {
    while (fed < tasks && rings.tasks.TryPut({0, fed, 0})) ++fed;
    for (Task task; rings.results.TryGet(task);) ++collected;
    return collected == tasks;
  });
}

}  // namespace

Measure RingsTime(int workers) {
  return [workers](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(const auto memory, Share<Rings>(1));
    Rings& rings = *new (memory.get()) Rings;
    std::vector<Child> children;
    for (int i = 0; i < workers; ++i) {
      children.push_back(RunInChild([&] {
        Echo(rings);
        return absl::OkStatus();
      }));
    }
    SpinUntil([&] { return rings.ready.load() == workers; });
    const absl::Time begin = absl::Now();
    FeedAndCollect(rings, static_cast<uint64_t>(runs));
    return absl::Now() - begin;
  };
}

namespace {

struct Claims {
  std::atomic<int> ready;
  std::atomic<bool> go;
  alignas(64) std::atomic<uint64_t> next;
  alignas(64) std::atomic<uint64_t> done;
};

void Claim(Claims& claims, uint64_t* results, uint64_t items, uint64_t chunk) {
  ++claims.ready;
  SpinUntil([&] { return claims.go.load(); });
  while (true) {
    const uint64_t first = claims.next.fetch_add(chunk);
    if (first >= items) return;
    const uint64_t end = std::min(items, first + chunk);
    for (uint64_t i = first; i < end; ++i) {
      static_cast<volatile uint64_t*>(results)[i] = i;
    }
    claims.done.fetch_add(end - first);
  }
}

}  // namespace

Measure ClaimsTime(int workers) {
  return [workers](int runs) -> absl::StatusOr<absl::Duration> {
    const auto items = static_cast<uint64_t>(runs);
    const uint64_t chunks = 8 * static_cast<uint64_t>(workers);
    const uint64_t chunk = (items + chunks - 1) / chunks;
    MP_ASSIGN_OR_RETURN(const auto claims, Share<Claims>(1));
    MP_ASSIGN_OR_RETURN(const auto results, Share<uint64_t>(items));
    std::vector<Child> children;
    for (int i = 0; i < workers; ++i) {
      children.push_back(RunInChild([&] {
        Claim(*claims, results.get(), items, chunk);
        return absl::OkStatus();
      }));
    }
    SpinUntil([&] { return claims->ready.load() == workers; });
    const absl::Time begin = absl::Now();
    claims->go = true;
    SpinUntil([&] { return claims->done.load() == items; });
    return absl::Now() - begin;
  };
}

namespace {

struct Bells {
  FutexWord there;
  FutexWord back;
};

void Await(FutexWord& bell) {
  while (bell.exchange(0) == 0) {
    FutexWait(bell, 0, Deadline(absl::InfiniteDuration()));
  }
}

void Ring(FutexWord& bell) {
  bell = 1;
  FutexWake(bell, 1);
}

}  // namespace

Measure TwoWakesTime() {
  return [](int runs) -> absl::StatusOr<absl::Duration> {
    MP_ASSIGN_OR_RETURN(const auto bells, Share<Bells>(1));
    const Child child = RunInChild([&] {
      while (true) {
        Await(bells->there);
        Ring(bells->back);
      }
      return absl::OkStatus();
    });
    absl::Duration taken;
    for (int i = 0; i < runs; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
      const absl::Time begin = absl::Now();
      Ring(bells->there);
      Await(bells->back);
      taken += absl::Now() - begin;
    }
    return taken;
  };
}

}  // namespace mp
