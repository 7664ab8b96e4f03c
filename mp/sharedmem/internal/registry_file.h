#ifndef MP_SHAREDMEM_INTERNAL_REGISTRY_FILE_H_
#define MP_SHAREDMEM_INTERNAL_REGISTRY_FILE_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/registry_layout.h"

namespace mp::internal {

// What a name of /dev/shm belongs to now, if to anything.
std::optional<struct stat> StatOfName(const std::string& name);

// The path of a name.
std::string PathOfName(absl::string_view name);

// A mapping of one page of the registry, which forked children do not have. With
// it goes a lock of its open file description, if that has no descriptor any
// more: at the latest with the address space.
//
// Source: man 2 fcntl, "Open file description locks"; man 2 madvise,
//         MADV_DONTFORK.
class KeptPage {
 public:
  KeptPage() = default;

  // Maps the page at `offset`, which is there, by PROT_READ or more. A `number`
  // is for the caller.
  static absl::StatusOr<KeptPage> Map(int fd, size_t offset, size_t number,
                                      int protection);

  KeptPage(KeptPage&& other) noexcept;
  KeptPage& operator=(KeptPage&& other) noexcept;
  ~KeptPage();

  bool is_mapped() const { return memory_ != nullptr; }
  size_t number() const { return number_; }
  RegistryRecord& record(size_t index) const;
  // The number `lead` of those behind the header.
  RegistryLead lead(size_t index) const;

  // In a forked child, where it is not mapped.
  void Forget() { memory_ = nullptr; }

 private:
  KeptPage(size_t number, void* memory) : number_(number), memory_(memory) {}

  size_t number_ = 0;
  void* memory_ = nullptr;
};

// The registry of a user, as a file of /dev/shm that is read and written by
// system calls: whatever others do to it, that is a status and no signal.
//
// Shape:   docs/shared_memory_registry.md.
// Owns:    a descriptor, unless the program closes it.
// Threads: not safe: locks are those of the one description.
// Fork:    a child must not lock by what it has inherited.
// Death:   locks go with the process.
class RegistryFile {
 public:
  enum class IfNone { kFail, kCreate };

  // Errors:
  //   kNotFound          there is none.
  //   kPermissionDenied  its name is another user's, or no file.
  //   kDataLoss          it is of another version, or damaged and cannot be
  //                      mended.
  //   and those of files.
  static absl::StatusOr<RegistryFile> Open(IfNone if_none);

  RegistryFile(RegistryFile&&) = default;
  RegistryFile& operator=(RegistryFile&& other) noexcept;
  ~RegistryFile() { Close(); }

  void Close();

  // In a forked child, before anything else: lets go of what is the parent's.
  void Forget() {
    first_.Forget();
    Close();
  }

  const FileId& id() const { return id_; }

  // Whether it is still that of this user, on that device or else wherever
  // /dev/shm is now, and finds out how many pages() it has.
  bool IsCurrent(std::optional<uint64_t> device);
  size_t pages() const { return pages_; }
  absl::Status CountPages();

  // Whether nobody can come to see it any more.
  bool IsUnlinked() const;

  // Whose each page is; see RegistryLead.
  absl::StatusOr<std::vector<RegistryLead>> Leads() const;
  absl::Status SetLead(size_t page, RegistryLead lead) const;
  absl::StatusOr<RegistryPage> Read(size_t page) const;

  // Whether anybody has locked a page. One that cannot be told is.
  bool IsLocked(size_t page) const;

  // Who takes the names of ended owners away locks that.
  bool TryLockSweep() const;
  void UnlockSweep() const;
  bool IsBeingSwept() const;

  // A name is locked by who is about to take it away, or to own what has it. No
  // name can be locked in a file that has been removed.
  bool TryLockName(absl::string_view name) const;
  void UnlockName(absl::string_view name) const;

  // Takes the file away if no page is anybody's, and nobody has locked anything
  // in it. Locks all there is meanwhile, so that whoever has locked something
  // sees by CountPages() whether the file is still there, and it stays so.
  bool RemoveIfUnused();
  bool IsBeingRemoved() const;

  // A description of its own of the same file. Errors: kUnavailable, if that has
  // been removed.
  absl::StatusOr<Fd> OpenAgain() const;

  // Locks a page by `description`, and no longer than that lives unless it is
  // kept. Keep() clears the page and maps it.
  static bool TryLockBy(const Fd& description, size_t page);
  static void UnlockBy(const Fd& description, size_t page);
  static absl::StatusOr<KeptPage> Keep(const Fd& description, size_t page);

 private:
  RegistryFile(Fd fd, std::string path, const struct stat& info);

  bool HasOwners() const;

  Fd fd_;
  std::string path_;
  FileId id_;
  size_t pages_ = 0;
  // The first page of the file, to look at without a system call.
  KeptPage first_;
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_REGISTRY_FILE_H_
