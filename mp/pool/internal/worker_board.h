#ifndef MP_POOL_INTERNAL_WORKER_BOARD_H_
#define MP_POOL_INTERNAL_WORKER_BOARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "mp/base/futex.h"
#include "mp/pool/internal/byte_ring.h"
#include "mp/pool/internal/item_claims.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// What a worker of this host and its pool share besides the bytes of their
// messages. All zero at first.
//
// Death: each field is written by one store, so that a worker which is killed
// at any moment has left what it was at.
struct WorkerBoard {
  static constexpr uint64_t kSlots = 64;

  // The run that the worker is at, and 1 + which of its items; 0 for none. The
  // item is written last, and cleared once its outcome is on its way.
  std::atomic<RunId> run;
  std::atomic<uint64_t> item_plus_1;

  // What is to be given up: ItemToken() of an item, or RunToken() of all that is
  // left of a run.
  std::atomic<uint64_t> interrupted;

  // Of each run that was sent, in one of these by turns: which of its items
  // nobody has begun.
  ItemClaims claims[kSlots];

  // Who sleeps, 1 for yes. Each says so before it looks for a reason not to, and
  // is woken by whoever takes that back: the worker by this futex, the pool by
  // its bell.
  alignas(64) FutexWord worker_sleeps;
  std::atomic<uint32_t> pool_sleeps;

  // The messages to the worker, and those from it.
  RingEnds tasks;
  RingEnds results;

  // How many CPUs the worker has for a pool of its own, written by the pool
  // before it starts.
  std::atomic<int32_t> cpu_share;

  // How long the initializer ran, written before its end is told.
  std::atomic<int64_t> initializer_nanoseconds;

  // By which a worker's runs and their items are named, for it alone: by the
  // number of the run, and the place of the item in it.
  static constexpr uint64_t RunToken(uint64_t number) {
    return (number + 1) << 16;
  }
  static constexpr uint64_t ItemToken(uint64_t number, uint64_t place) {
    return RunToken(number) + place + 1;
  }
};
static_assert(std::atomic<RunId>::is_always_lock_free);

// All that they share. The pages of a ring that is never full are never there.
struct WorkerMemory {
  static constexpr size_t kRingBytes = size_t{256} << 10;

  WorkerBoard board;
  alignas(4096) char tasks[kRingBytes];
  char results[kRingBytes];
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_WORKER_BOARD_H_
