#include <fcntl.h>
#include <pthread.h>

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/status_macros.h"
#include "mp/process/finalizer.h"
#include "mp/sharedmem/internal/block_lock.h"
#include "mp/sharedmem/internal/block_owners.h"
#include "mp/sharedmem/internal/file_id.h"

namespace mp::internal {
namespace {

// After the children, which may still use the names, and at CPython's place
// for its temporary files.
constexpr int kExitPriority = -100;

// An open file description of the same file that is nobody else's.
absl::StatusOr<Fd> Reopen(const Fd& fd) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd.get());
  Fd opened(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!opened.is_open()) {
    return ErrnoStatus(errno, absl::StrCat("SharedMemory: open(\"", path,
                                           "\"), which needs /proc"));
  }
  return opened;
}

}  // namespace

// What a fork does to the list.
struct BlockOwnersAtFork {
  static void Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockOwners::Get().mutex_.Lock();
  }
  static void Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockOwners::Get().mutex_.Unlock();
  }
  static void UnlockInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockOwners::Get().is_parents_ = true;
    Unlock();
  }
};

BlockOwners& BlockOwners::Get() {
  static BlockOwners& owners = *new BlockOwners();
  return owners;
}

namespace {
// Before main(), so that no forked child finds it half made.
const bool made_early = (static_cast<void>(BlockOwners::Get()), true);
}  // namespace

BlockOwners::BlockOwners() {
  pthread_atfork(BlockOwnersAtFork::Lock, BlockOwnersAtFork::Unlock,
                 BlockOwnersAtFork::UnlockInChild);
}

void BlockOwners::DropParents() {
  if (!std::exchange(is_parents_, false)) return;
  // The pages are not here, and something else may be where they were.
  for (auto& [id, entry] : entries_) entry.lock.Forget();
  entries_.clear();
  is_removed_at_exit_ = false;
}

absl::Status BlockOwners::Add(const Fd& block, const std::string& name,
                              FileId id,
                              absl::FunctionRef<absl::Status()> check) {
  MP_RETURN_IF_ERROR(AddEntry(block, name, id, check));
  EnsureRemovalAtExit();
  return absl::OkStatus();
}

absl::Status BlockOwners::AddEntry(const Fd& block, const std::string& name,
                                   FileId id,
                                   absl::FunctionRef<absl::Status()> check) {
  ForkSafeLock hold(mutex_);
  DropParents();
  if (entries_.contains(id)) return check();
  MP_ASSIGN_OR_RETURN(const Fd description, Reopen(block));
  MP_ASSIGN_OR_RETURN(OwnerLock lock, OwnerLock::Take(description));
  MP_RETURN_IF_ERROR(check());
  entries_.emplace(id, Entry{name, std::move(lock)});
  return absl::OkStatus();
}

void BlockOwners::EnsureRemovalAtExit() {
  {
    ForkSafeLock hold(mutex_);
    if (std::exchange(is_removed_at_exit_, true)) return;
  }
  // Not under the lock, as it takes one that is held over forks, too. One of
  // before a fork does nothing any more, and one that runs is not disturbed.
  static std::unique_ptr<Finalizer>& at_exit =
      *new std::unique_ptr<Finalizer>();
  at_exit = std::make_unique<Finalizer>(
      [] { Get().RemoveAll(RemoveIfOrphanNamed); }, kExitPriority);
}

bool BlockOwners::Remove(FileId id) {
  ForkSafeLock hold(mutex_);
  DropParents();
  return entries_.erase(id) > 0;
}

void BlockOwners::RemoveAll(
    const std::function<void(const std::string&)>& remove) {
  std::map<FileId, Entry> entries;
  {
    ForkSafeLock hold(mutex_);
    DropParents();
    entries.swap(entries_);
    is_removed_at_exit_ = false;
  }
  std::vector<std::string> names;
  for (const auto& [id, entry] : entries) names.push_back(entry.name);
  entries.clear();
  for (const std::string& name : names) remove(name);
}

}  // namespace mp::internal
