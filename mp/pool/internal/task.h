#ifndef MP_POOL_INTERNAL_TASK_H_
#define MP_POOL_INTERNAL_TASK_H_

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "mp/pool/internal/function_name.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// Who runs tasks, wherever it lives. Never used again for another one.
using WorkerId = uint64_t;

// In the order of submission, from 1.
using TaskId = uint64_t;

// A function that tasks call, among those that a pool has had.
using JobId = uint64_t;

// What to run.
struct TaskPayload {
  JobId job = 0;
  std::shared_ptr<const Parcel> function;  // the Job, encoded
  Parcel items;  // the arguments of all items, one after the other
  // For people: what the function is, and which item of its call is the first.
  FunctionId function_id;
  uint64_t first_index = 0;
};

// Items of one call that one worker runs one after the other: a chunk.
struct TaskSpec {
  // How many; at least 1. They are called 0 to items - 1.
  uint64_t items = 1;
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

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_TASK_H_
