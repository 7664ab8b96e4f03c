#ifndef MP_BASE_ARENA_REGISTRY_H_
#define MP_BASE_ARENA_REGISTRY_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "mp/base/arena_file.h"
#include "mp/base/arena_map.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"

namespace mp::internal {

// The arenas of this process.
//
// Threads: safe from any.
// Fork:    a child gets to hold what its parent held, and forgets the default.
class ArenaRegistry {
 public:
  static ArenaRegistry& Get();

  // What Arena says of them.
  absl::StatusOr<std::shared_ptr<ArenaMap>> Create();
  absl::StatusOr<std::shared_ptr<ArenaMap>> Default();
  absl::StatusOr<std::shared_ptr<ArenaMap>> Attach(Fd fd);
  void LeaveAll();

  // Attaches through a descriptor that is another one's to close.
  absl::StatusOr<std::shared_ptr<ArenaMap>> AttachTransit(const Fd& transit);

  // For one that dies.
  void Remove(ArenaMap& map);

  // For the first moments of the program.
  static void HoldOverForks();

 private:
  constexpr ArenaRegistry() = default;

  // None if it is not there.
  std::shared_ptr<ArenaMap> Find(int fd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<ArenaMap>> Add(ArenaFile file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void BeforeFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // Taken before mutex_.
  ForkSafeMutex default_mutex_;
  std::shared_ptr<ArenaMap> default_ ABSL_GUARDED_BY(default_mutex_);

  ForkSafeMutex mutex_;
  ArenaMap* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace mp::internal

#endif  // MP_BASE_ARENA_REGISTRY_H_
