#ifndef MP_PROCESS_INTERNAL_CHILDREN_H_
#define MP_PROCESS_INTERNAL_CHILDREN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/context.h"
#include "mp/process/internal/child.h"

namespace mp::internal {

// The children of this process that may still run, so that none is forgotten
// when their Process objects go away, nor when a signal ends this process; see
// live_children.h.
//
// Threads: safe from any.
class Children {
 public:
  static Children& Get();

  struct Entry {
    std::shared_ptr<Child> child;
    std::string name;
    bool daemon;
    // Nothing for another program, which is no process of ours to list.
    std::optional<StartMethod> started_by;
  };

  // Takes note of a child that has been started.
  void Add(Entry entry);

  // Forgets one that has ended.
  void Remove(const Child& child);

  // Reaps those that have ended, as CPython does whenever it starts another.
  void ReapEnded();

  // The same; returns the others.
  std::vector<Entry> Active();

  // Terminates daemons, with SIGKILL if they take longer than 5 s, then waits
  // for all. Runs at exit.
  // Source: CPython multiprocessing.util._exit_function().
  void FinishAll();

  // In a forked child: these are the children of somebody else.
  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  ForkSafeMutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CHILDREN_H_
