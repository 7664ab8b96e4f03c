#ifndef MP_SHAREDMEM_INTERNAL_BLOCK_OWNERS_H_
#define MP_SHAREDMEM_INTERNAL_BLOCK_OWNERS_H_

#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/sharedmem/internal/block_lock.h"
#include "mp/sharedmem/internal/file_id.h"

namespace mp::internal {

// The named blocks that this process owns.
//
// Threads: safe from any.
// Fork:    a child owns none.
// Death:   the locks go with the process. One that exits in order takes the
//          names away that nobody else owns.
class BlockOwners {
 public:
  static BlockOwners& Get();

  // Owns the block that `block` is open on, unless that is so already. `check`
  // is called once the lock is there, and its error undoes it.
  absl::Status Add(const Fd& block, const std::string& name, FileId id,
                   absl::FunctionRef<absl::Status()> check);

  // Owns it no more. The name stays. Returns whether this process owned it.
  bool Remove(FileId id);

  // What an exit does: owns nothing any more, and calls `remove` with each
  // name.
  void RemoveAll(const std::function<void(const std::string&)>& remove);

 private:
  struct Entry {
    std::string name;
    OwnerLock lock;
  };

  BlockOwners();
  absl::Status AddEntry(const Fd& block, const std::string& name, FileId id,
                        absl::FunctionRef<absl::Status()> check);
  void EnsureRemovalAtExit();
  void DropParents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Held over forks, so that no child has the description of a lock. Whoever
  // holds it takes no other.
  ForkSafeMutex mutex_;
  std::map<FileId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  // In a forked child, until somebody looks: the entries are its parent's.
  bool is_parents_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_removed_at_exit_ ABSL_GUARDED_BY(mutex_) = false;

  friend struct BlockOwnersAtFork;
};

// Takes a name away if its block had owners and has none. In named_block.
void RemoveIfOrphanNamed(const std::string& name);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_BLOCK_OWNERS_H_
