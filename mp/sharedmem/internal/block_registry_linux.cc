#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/status_macros.h"
#include "mp/process/finalizer.h"
#include "mp/sharedmem/internal/block_name.h"
#include "mp/sharedmem/internal/block_registry.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/registry_file.h"
#include "mp/sharedmem/internal/registry_layout.h"

namespace mp::internal {
namespace {

using IfNone = RegistryFile::IfNone;

// After the children, which may still use the names, and at CPython's place
// for its temporary files.
constexpr int kExitPriority = -100;
// How long something may be locked, in milliseconds, before that is an error.
constexpr int kPatience = 1000;

absl::Status NameError(int error, absl::string_view call,
                       const std::string& name) {
  return ErrnoStatus(error,
                     absl::StrCat("SharedMemory: ", call, "(\"",
                                  absl::CHexEscape(PathOfName(name)), "\")"));
}

bool HasName(FileId id, const std::string& name) {
  const auto info = StatOfName(name);
  return info.has_value() && FileId::Of(*info) == id;
}

absl::Status CheckHasName(FileId id, const std::string& name) {
  if (HasName(id, name)) return absl::OkStatus();
  return NameError(ENOENT, "open", name);
}

// What a record says, if it can be true: the bytes are anybody's.
std::optional<std::string> NameIn(const RegistryRecord& record) {
  if (record.inode == 0) return std::nullopt;
  const absl::string_view name(record.name,
                               strnlen(record.name, sizeof(record.name)));
  const absl::StatusOr<std::string> checked = CheckedBlockName(name);
  if (!checked.ok() || *checked != name) return std::nullopt;
  return *checked;
}

// Does `step` until that is not kUnavailable, or has been so for a second.
absl::Status DoPatiently(absl::FunctionRef<absl::Status()> step) {
  absl::Status done = step();
  for (int i = 0; i < kPatience && absl::IsUnavailable(done); ++i) {
    absl::SleepFor(absl::Milliseconds(1));
    done = step();
  }
  return done;
}

// Whether another page decides about this one.
bool IsFollower(const std::vector<RegistryLead>& leads, size_t page) {
  const size_t lead = leads[page] - 1;
  return lead != page && lead < leads.size() && leads[lead] == lead + 1;
}

}  // namespace

// What a fork does.
struct BlockRegistryAtFork {
  static void Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockRegistry::Get().mutex_.Lock();
  }
  static void Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockRegistry::Get().mutex_.Unlock();
  }
  static void UnlockInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    BlockRegistry& registry = BlockRegistry::Get();
    registry.is_parents_ = true;
    // At once: with this descriptor the child would keep what its parent locks
    // later, and is killed with.
    if (registry.file_.has_value()) registry.file_->Forget();
    Unlock();
  }
};

BlockRegistry& BlockRegistry::Get() {
  static BlockRegistry& registry = *new BlockRegistry();
  return registry;
}

namespace {
// Before main(), so that no forked child finds it half made.
[[maybe_unused]] const bool made_early =
    (static_cast<void>(BlockRegistry::Get()), true);
}  // namespace

BlockRegistry::BlockRegistry() {
  pthread_atfork(BlockRegistryAtFork::Lock, BlockRegistryAtFork::Unlock,
                 BlockRegistryAtFork::UnlockInChild);
}

void BlockRegistry::DropParents() {
  if (!std::exchange(is_parents_, false)) return;
  // The pages are not here, and something else may be where they were.
  for (std::vector<KeptPage>* const pages : {&kept_, &former_}) {
    for (KeptPage& page : *pages) page.Forget();
    pages->clear();
  }
  file_.reset();
  free_.clear();
  entries_.clear();
  looks_at_exit_ = false;
}

// Whether what we have written is still in the file.
bool BlockRegistry::IsWhole() const {
  for (const KeptPage& page : kept_) {
    if (page.number() >= file_->pages()) return false;
  }
  return true;
}

// Has file_ be the registry of this user where /dev/shm is now.
absl::Status BlockRegistry::Attach(std::optional<uint64_t> device,
                                   IfNone if_none) {
  if (file_.has_value() && file_->IsCurrent(device) && IsWhole()) {
    return absl::OkStatus();
  }
  absl::StatusOr<RegistryFile> file = RegistryFile::Open(if_none);
  if (!file.ok()) {
    Detach();
    return file.status();
  }
  const bool is_same = file_.has_value() && file_->id() == file->id();
  if (!is_same) Detach();
  file_.emplace(*std::move(file));
  // Otherwise somebody has only closed its descriptor.
  if (is_same && IsWhole()) return absl::OkStatus();
  LeavePages();
  absl::Status added = AddAll();
  if (!added.ok()) Detach();
  return added;
}

// Lets go of a registry that is not in /dev/shm any more, or cannot be used.
void BlockRegistry::Detach() {
  LeavePages();
  file_.reset();
}

// Touches our pages no more, as they may be cut off. The locks stay for those
// who still see them.
void BlockRegistry::LeavePages() {
  if (file_.has_value() && !file_->IsUnlinked()) {
    for (KeptPage& page : kept_) former_.push_back(std::move(page));
  }
  kept_.clear();
  free_.clear();
  for (auto& [id, entry] : entries_) entry.place.reset();
}

// Writes down what we own in a registry that does not know of it.
absl::Status BlockRegistry::AddAll() {
  std::vector<FileId> ids;
  for (const auto& [id, entry] : entries_) {
    if (id.device == file_->id().device) ids.push_back(id);
  }
  for (const FileId id : ids) {
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) continue;  // without its name by now
    MP_RETURN_IF_ERROR(Write(id, entry->second));
  }
  return absl::OkStatus();
}

RegistryRecord& BlockRegistry::RecordAt(const Place& place) {
  return kept_[place.kept].record(place.record);
}

absl::Status BlockRegistry::Add(FileId id, const std::string& name) {
  Entry entry = {name, std::nullopt};
  MP_RETURN_IF_ERROR(Write(id, entry));
  entries_.insert_or_assign(id, std::move(entry));
  return absl::OkStatus();
}

absl::Status BlockRegistry::Write(FileId id, Entry& entry) {
  MP_ASSIGN_OR_RETURN(entry.place, FindPlace());
  RegistryRecord& record = RecordAt(*entry.place);
  std::memset(record.name, 0, sizeof(record.name));
  std::memcpy(record.name, entry.name.data(), entry.name.size());
  // Last, as who is killed before leaves none.
  std::atomic_ref(record.inode).store(id.inode, std::memory_order_release);
  return absl::OkStatus();
}

void BlockRegistry::Remove(FileId id) {
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return;
  const std::optional<Place> place = entry->second.place;
  entries_.erase(entry);
  if (!place.has_value()) return;
  std::atomic_ref(RecordAt(*place).inode).store(0, std::memory_order_release);
  free_.push_back(*place);
}

absl::StatusOr<BlockRegistry::Place> BlockRegistry::FindPlace() {
  if (free_.empty()) DropUnlinked();
  if (free_.empty()) MP_RETURN_IF_ERROR(ClaimPage());
  const Place place = free_.back();
  free_.pop_back();
  return place;
}

// Forgets blocks whose names others have taken away.
void BlockRegistry::DropUnlinked() {
  if (entries_.size() < enough_entries_) return;
  std::vector<FileId> unlinked;
  for (const auto& [id, entry] : entries_) {
    if (id.device == file_->id().device && !HasName(id, entry.name)) {
      unlinked.push_back(id);
    }
  }
  for (const FileId id : unlinked) Remove(id);
  enough_entries_ = std::max(2 * entries_.size(), RegistryPage::kRecords);
}

// Takes the first page that is nobody's, or of an owner that has ended.
absl::Status BlockRegistry::ClaimPage() {
  MP_ASSIGN_OR_RETURN(const Fd description, file_->OpenAgain());
  MP_ASSIGN_OR_RETURN(const std::vector<RegistryLead> leads, file_->Leads());
  for (size_t page = 0; page < kMaxRegistryPages; ++page) {
    if (page < leads.size() && leads[page] != 0) continue;
    if (!RegistryFile::TryLockBy(description, page)) {
      if (!file_->IsBeingRemoved()) continue;
      return absl::UnavailableError(
          "SharedMemory: a process that is stopped, it seems, is about to "
          "remove the registry of names");
    }
    // Whoever had it meanwhile has left nothing, or something to look after.
    MP_RETURN_IF_ERROR(file_->CountPages());
    MP_ASSIGN_OR_RETURN(const std::vector<RegistryLead> now, file_->Leads());
    if (page < now.size() && now[page] != 0) {
      RegistryFile::UnlockBy(description, page);
      continue;
    }
    MP_ASSIGN_OR_RETURN(KeptPage kept, RegistryFile::Keep(description, page));
    const size_t lead = kept_.empty() ? page : kept_.front().number();
    MP_RETURN_IF_ERROR(file_->SetLead(page, lead + 1));
    MP_RETURN_IF_ERROR(file_->CountPages());
    kept_.push_back(std::move(kept));
    for (size_t i = RegistryPage::kRecords; i > 0; --i) {
      free_.push_back({kept_.size() - 1, i - 1});
    }
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "SharedMemory: all ", kMaxRegistryPages, " pages of the registry of ",
      "names are taken; blocks without `track` need none"));
}

// Does `step` while nobody else takes that name away, or comes to own it.
absl::Status BlockRegistry::WithName(const std::string& name,
                                     std::optional<uint64_t> device,
                                     absl::FunctionRef<absl::Status()> step) {
  absl::Status done = DoPatiently([&]() -> absl::Status {
    ForkSafeLock hold(mutex_);
    DropParents();
    const absl::Status attached = Attach(device, IfNone::kCreate);
    if (absl::IsUnavailable(attached)) return attached;
    // Without a registry nobody looks, either.
    if (!attached.ok()) return step();
    if (!file_->TryLockName(name)) {
      return absl::UnavailableError(absl::StrCat(
          "SharedMemory: a process that is stopped, it seems, is about to take "
          "the name \"",
          absl::CHexEscape(name), "\" away"));
    }
    absl::Status stepped = step();
    if (file_.has_value()) file_->UnlockName(name);
    return stepped;
  });
  EnsureLookAtExit();
  return done;
}

void BlockRegistry::Look(std::optional<uint64_t> device) {
  DoPatiently([&]() -> absl::Status {
    ForkSafeLock hold(mutex_);
    DropParents();
    if (!Attach(device, IfNone::kFail).ok()) return absl::OkStatus();
    MP_RETURN_IF_ERROR(Sweep());
    RemoveUnusedFile();
    return absl::OkStatus();
  }).IgnoreError();
}

absl::Status BlockRegistry::OwnNew(
    FileId id, const std::string& name,
    absl::FunctionRef<absl::Status()> give_name) {
  absl::Status owned = DoPatiently([&]() -> absl::Status {
    ForkSafeLock hold(mutex_);
    DropParents();
    MP_RETURN_IF_ERROR(Attach(id.device, IfNone::kCreate));
    MP_RETURN_IF_ERROR(Sweep());
    MP_RETURN_IF_ERROR(Add(id, name));
    absl::Status named = give_name();
    if (!named.ok()) Remove(id);
    return named;
  });
  // After an error, too, as there is a registry by now.
  EnsureLookAtExit();
  return owned;
}

absl::Status BlockRegistry::Own(FileId id, const std::string& name) {
  return WithName(name, id.device,
                  [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status {
                    MP_RETURN_IF_ERROR(CheckHasName(id, name));
                    if (entries_.contains(id)) return absl::OkStatus();
                    MP_RETURN_IF_ERROR(Attach(id.device, IfNone::kCreate));
                    return Add(id, name);
                  });
}

bool BlockRegistry::Owns(FileId id) {
  ForkSafeLock hold(mutex_);
  DropParents();
  return entries_.contains(id);
}

absl::Status BlockRegistry::Disown(FileId id, const std::string& name) {
  // Those who ended while we owned it, too, have left it to us.
  if (Owns(id)) Look(id.device);
  return WithName(name, id.device,
                  [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status {
                    MP_RETURN_IF_ERROR(CheckHasName(id, name));
                    Remove(id);
                    return absl::OkStatus();
                  });
}

absl::Status BlockRegistry::RemoveName(const std::string& name,
                                       std::optional<FileId> id) {
  const auto device = id.has_value() ? std::optional(id->device) : std::nullopt;
  return WithName(
      name, device, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status {
        const auto info = StatOfName(name);
        if (!info.has_value() || (id.has_value() && FileId::Of(*info) != *id)) {
          return NameError(ENOENT, "unlink", name);
        }
        if (unlink(PathOfName(name).c_str()) != 0) {
          return NameError(errno, "unlink", name);
        }
        Remove(FileId::Of(*info));
        return absl::OkStatus();
      });
}

absl::StatusOr<std::vector<RegisteredBlock>> BlockRegistry::List() {
  Look();
  ForkSafeLock hold(mutex_);
  DropParents();
  const absl::Status attached = Attach(std::nullopt, IfNone::kFail);
  if (absl::IsNotFound(attached)) return std::vector<RegisteredBlock>();
  MP_RETURN_IF_ERROR(attached);
  MP_ASSIGN_OR_RETURN(const std::vector<RegistryLead> leads, file_->Leads());
  std::map<std::string, int64_t> sizes;
  for (size_t page = 0; page < leads.size(); ++page) {
    if (leads[page] == 0) continue;
    MP_ASSIGN_OR_RETURN(const RegistryPage bytes, file_->Read(page));
    for (const RegistryRecord& record : bytes.records) {
      const auto name = NameIn(record);
      const auto info = name.has_value() ? StatOfName(*name) : std::nullopt;
      if (info.has_value() && info->st_ino == record.inode) {
        sizes[*name] = info->st_size;
      }
    }
  }
  std::vector<RegisteredBlock> blocks;
  for (const auto& [name, size] : sizes) blocks.push_back({name, size});
  return blocks;
}

// Takes the registry away if nobody needs it any more. One that has made or
// used it does so at its end, as otherwise it would make the next one soon.
void BlockRegistry::RemoveUnusedFile() {
  if (!looks_at_exit_ && file_->RemoveIfUnused()) file_.reset();
}

// Goes through the pages of owners that have ended. One process at a time does
// so: the others get kUnavailable, and wait for it, unless it seems to be
// stopped.
absl::Status BlockRegistry::Sweep() {
  const std::vector<size_t> ended = EndedOwners();
  if (ended.empty() || file_->TryLockSweep()) {
    tries_to_sweep_ = 0;
  } else if (file_->IsBeingSwept() && tries_to_sweep_ < kPatience / 2) {
    ++tries_to_sweep_;
    return absl::UnavailableError(
        "SharedMemory: another process is about to remove names");
  } else {
    return absl::OkStatus();
  }
  if (ended.empty()) return absl::OkStatus();
  for (const size_t lead : ended) SweepOwner(lead);
  file_->UnlockSweep();
  return absl::OkStatus();
}

// The first pages of owners that have ended.
std::vector<size_t> BlockRegistry::EndedOwners() const {
  std::vector<size_t> ended;
  if (file_->pages() == kept_.size()) return ended;
  const auto leads = file_->Leads();
  if (!leads.ok()) return ended;
  for (size_t page = 0; page < leads->size(); ++page) {
    if ((*leads)[page] != 0 && !IsFollower(*leads, page) &&
        !file_->IsLocked(page)) {
      ended.push_back(page);
    }
  }
  return ended;
}

// Goes through the pages of an owner that has ended, and makes them nobody's:
// the first one last, so that none is forgotten. A page that is nobody's may be
// another's at once, so it is not touched again.
void BlockRegistry::SweepOwner(size_t lead) {
  const auto leads = file_->Leads();
  // Others may have swept it since, and one that lives may have it.
  if (!leads.ok() || lead >= leads->size() || (*leads)[lead] == 0 ||
      IsFollower(*leads, lead) || file_->IsLocked(lead)) {
    return;
  }
  bool is_done = true;
  for (size_t page = 0; page < leads->size(); ++page) {
    if ((*leads)[page] != lead + 1 || page == lead) continue;
    const bool is_swept = !file_->IsLocked(page) && SweepPage(page);
    if (is_swept) file_->SetLead(page, 0).IgnoreError();
    is_done = is_done && is_swept;
  }
  is_done = SweepPage(lead) && is_done;
  if (is_done) file_->SetLead(lead, 0).IgnoreError();
}

bool BlockRegistry::SweepPage(size_t page) {
  const auto bytes = file_->Read(page);
  if (!bytes.ok()) return false;
  bool is_done = true;
  for (const RegistryRecord& record : bytes->records) {
    is_done = SweepRecord(record) && is_done;
  }
  return is_done;
}

// Takes a name away that nobody owns any more.
bool BlockRegistry::SweepRecord(const RegistryRecord& record) {
  const std::optional<std::string> name = NameIn(record);
  if (!name.has_value()) return true;
  if (!file_->TryLockName(*name)) return false;
  const FileId id = {file_->id().device, record.inode};
  const auto info = StatOfName(*name);
  bool is_done = true;
  if (info.has_value() && FileId::Of(*info) == id && id != file_->id() &&
      S_ISREG(info->st_mode) && info->st_uid == geteuid() &&
      !HasLivingOwner(id.inode)) {
    is_done = unlink(PathOfName(*name).c_str()) == 0 || errno == ENOENT;
  }
  file_->UnlockName(*name);
  return is_done;
}

bool BlockRegistry::HasLivingOwner(uint64_t inode) {
  if (entries_.contains({file_->id().device, inode})) return true;
  const auto leads = file_->Leads();
  if (!leads.ok()) return true;
  for (size_t page = 0; page < leads->size(); ++page) {
    if ((*leads)[page] == 0) continue;
    const size_t lead = IsFollower(*leads, page) ? (*leads)[page] - 1 : page;
    if (!file_->IsLocked(lead)) continue;
    const auto bytes = file_->Read(page);
    if (!bytes.ok()) return true;
    for (const RegistryRecord& record : bytes->records) {
      if (record.inode == inode) return true;
    }
  }
  return false;
}

void BlockRegistry::EnsureLookAtExit() {
  {
    ForkSafeLock hold(mutex_);
    if (std::exchange(looks_at_exit_, true)) return;
  }
  // Not under the lock, as it takes one that is held over forks, too. One of
  // before a fork does nothing any more, and one that runs is not disturbed.
  at_exit_ =
      std::make_unique<Finalizer>([] { Get().LookAtExit(); }, kExitPriority);
}

// Ends as one that is killed would, and looks.
void BlockRegistry::LookAtExit() {
  {
    ForkSafeLock hold(mutex_);
    DropParents();
    kept_.clear();
    former_.clear();
    free_.clear();
    entries_.clear();
    looks_at_exit_ = false;
  }
  Look();
}

}  // namespace mp::internal
