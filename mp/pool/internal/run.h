#ifndef MP_POOL_INTERNAL_RUN_H_
#define MP_POOL_INTERNAL_RUN_H_

#include <cstdint>

#include "absl/container/btree_set.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// What a worker has been sent of a task, as its pool knows it: items that it
// runs one after the other, and which of them are done.
//
// Threads: for one at a time.
class Run {
 public:
  Run(RunId id, TaskId task, ItemRange items)
      : id_(id), task_(task), items_(items) {}

  RunId id() const { return id_; }
  TaskId task() const { return task_; }

  // Whether an item is done, or none of it.
  bool IsDone(uint64_t item) const;
  // Of one that is not.
  void MarkDone(uint64_t item);
  // The same for some that follow each other, if they are the next ones and none
  // has been told of before its turn; false otherwise.
  bool MarkNextDone(uint64_t first, uint64_t count);

  // Has its last items belong to it no more, none of which is done. Returns
  // them; no more than there are.
  ItemRange TakeLast(uint64_t count);

  // What is not done: the first one and all that may be, which is all but those
  // that were told of before their turn.
  uint64_t next() const { return items_.first; }
  uint64_t end() const { return items_.end; }
  ItemRanges Left() const;
  bool is_over() const { return items_.empty(); }

 private:
  RunId id_;
  TaskId task_;
  ItemRange items_;
  absl::btree_set<uint64_t> done_early_;  // of those
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_RUN_H_
