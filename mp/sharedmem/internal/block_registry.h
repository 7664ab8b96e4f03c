#ifndef MP_SHAREDMEM_INTERNAL_BLOCK_REGISTRY_H_
#define MP_SHAREDMEM_INTERNAL_BLOCK_REGISTRY_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/finalizer.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/registry_file.h"
#include "mp/sharedmem/internal/registry_layout.h"

namespace mp::internal {

// A name, and what has it.
struct RegisteredBlock {
  std::string name;
  int64_t size_bytes = 0;
};

// Who owns which names: this process's part of what all processes of the user
// keep in one file, docs/shared_memory_registry.md.
//
// Threads: safe from any.
// Fork:    a child owns nothing, and locks nothing that its parent has locked.
// Death:   what the process owned goes with the next Look() of any other. One
//          that exits in order looks itself.
class BlockRegistry {
 public:
  static BlockRegistry& Get();

  // Takes away the names of those owners that have ended, unless others own
  // them too, and the registry with the last one. `device` is where /dev/shm is,
  // if that is known. Waits for one that does the same, unless that is stopped;
  // what it cannot do now is left to the next.
  void Look(std::optional<uint64_t> device = std::nullopt);

  // Looks, and owns a block that is about to get its name by `give_name`, whose
  // error undoes it.
  //
  // Errors:
  //   kResourceExhausted  no room in /dev/shm, no descriptors, or all pages of
  //                       the registry are taken.
  //   kUnavailable        a process that is stopped is about to remove it.
  //   kPermissionDenied, kDataLoss  there is something else where the registry
  //                       should be.
  absl::Status OwnNew(FileId id, const std::string& name,
                      absl::FunctionRef<absl::Status()> give_name);

  // Owns a block that has its name. Errors: kNotFound, if it has it no more;
  // kUnavailable, as RemoveName(); those of OwnNew().
  absl::Status Own(FileId id, const std::string& name);

  // Owns it no more; the name stays. Errors: kNotFound.
  absl::Status Disown(FileId id, const std::string& name);

  // Takes a name away, if it is that of `id`.
  //
  // Errors:
  //   kNotFound     it is not, or there is none.
  //   kUnavailable  a process that is stopped is about to do the same.
  absl::Status RemoveName(const std::string& name, std::optional<FileId> id);

  // The blocks that have owners.
  absl::StatusOr<std::vector<RegisteredBlock>> List();

 private:
  // Where the record of a block is.
  struct Place {
    size_t kept;  // in kept_
    size_t record;
  };
  struct Entry {
    std::string name;
    // None while there is no registry to have it.
    std::optional<Place> place;
  };

  BlockRegistry();

  bool Owns(FileId id);
  void DropParents() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Attach(std::optional<uint64_t> device,
                      RegistryFile::IfNone if_none)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsWhole() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Detach() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeavePages() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AddAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status Add(FileId id, const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(FileId id, Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(FileId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Place> FindPlace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropUnlinked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ClaimPage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RegistryRecord& RecordAt(const Place& place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WithName(const std::string& name, std::optional<uint64_t> device,
                        absl::FunctionRef<absl::Status()> step);

  absl::Status Sweep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<size_t> EndedOwners() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SweepOwner(size_t lead) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool SweepPage(size_t page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool SweepRecord(const RegistryRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasLivingOwner(uint64_t inode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveUnusedFile() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void LookAtExit();
  void EnsureLookAtExit();

  // Held over forks, so that no child has the description of a lock. Whoever
  // holds it takes no other.
  ForkSafeMutex mutex_;
  std::optional<RegistryFile> file_ ABSL_GUARDED_BY(mutex_);
  // Our pages, of which the first one is our lead; and those of registries that
  // were in /dev/shm before it became another.
  std::vector<KeptPage> kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<KeptPage> former_ ABSL_GUARDED_BY(mutex_);
  std::vector<Place> free_ ABSL_GUARDED_BY(mutex_);
  std::map<FileId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  // With so many entries, it is time to see which have lost their names.
  size_t enough_entries_ ABSL_GUARDED_BY(mutex_) = RegistryPage::kRecords;
  // How often in a row another process was at it.
  int tries_to_sweep_ ABSL_GUARDED_BY(mutex_) = 0;
  // In a forked child, until somebody looks: all that is its parent's.
  bool is_parents_ ABSL_GUARDED_BY(mutex_) = false;
  bool looks_at_exit_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Finalizer> at_exit_;

  friend struct BlockRegistryAtFork;
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_BLOCK_REGISTRY_H_
