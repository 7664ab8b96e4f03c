#ifndef MP_POOL_INTERNAL_TASK_H_
#define MP_POOL_INTERNAL_TASK_H_

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/packed_items.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// Who runs tasks, wherever it lives. Never used again for another one.
using WorkerId = uint64_t;

// In the order of submission, from 1.
using TaskId = uint64_t;

// What one worker has got of a task at a time, in the order of sending, from 1.
using RunId = uint64_t;

// A function that tasks call, among those that a pool has had.
using JobId = uint64_t;

// What to run.
struct TaskPayload {
  JobId job = 0;
  std::shared_ptr<const Parcel> function;  // the Job, encoded
  PackedItems items;                       // the arguments of each
  // For people: what the function is, and which item of its call is the first.
  FunctionId function_id;
  uint64_t first_index = 0;
};

// Items of one call, which run anywhere and in any order: a run of them at a
// time on one worker, one after the other.
struct TaskSpec {
  // How many; at least 1. They are called 0 to items - 1.
  uint64_t items = 1;
  // How many of them count as one task of those that a worker may run, and are
  // sent at least; and whether they stay together while they wait.
  uint64_t chunk = 1;
  bool keeps_chunks = false;
  // Tasks of a higher one go first; those of the same in their order.
  int priority = 0;
  // How often an item runs again after the worker that ran it was lost.
  int retries = 0;
  // How long an item may run before it is warned, and how long after that
  // before its worker is killed.
  absl::Duration time_limit = absl::InfiniteDuration();
  absl::Duration grace = absl::Seconds(1);
  // What to run, for the carrier; the dispatcher does not look at it.
  std::shared_ptr<const TaskPayload> payload = nullptr;
};

struct TaskItem {
  TaskId task = 0;
  uint64_t item = 0;

  friend bool operator==(const TaskItem& a, const TaskItem& b) {
    return a.task == b.task && a.item == b.item;
  }
};

// How many chunks so many items are.
inline double ChunksOf(const TaskSpec& spec, uint64_t items) {
  return static_cast<double>(items) / static_cast<double>(spec.chunk);
}

// An item, as a worker calls it: by the run that it belongs to there.
struct RunItem {
  RunId run = 0;
  uint64_t item = 0;  // of the task

  friend bool operator==(const RunItem& a, const RunItem& b) {
    return a.run == b.run && a.item == b.item;
  }
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_TASK_H_
