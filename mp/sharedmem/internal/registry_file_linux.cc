#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/link_file.h"
#include "mp/sharedmem/internal/registry_file.h"
#include "mp/sharedmem/internal/registry_layout.h"

namespace mp::internal {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr mode_t kMode = S_IRUSR | S_IWUSR;
// What is locked. A lock does not need a byte to be there.
struct Bytes {
  off_t start;
  off_t size = 1;
};
// Up to the end, however far that is.
constexpr Bytes kAllLocks = {0, 0};
// Locked with all others only.
constexpr Bytes kLockOfRemover = {0};
constexpr Bytes kSweepLock = {1};
constexpr off_t kPageLocks = off_t{1} << 60;
constexpr off_t kNameLocks = off_t{1} << 61;
constexpr uint64_t kNameLockMask = (uint64_t{1} << 60) - 1;
constexpr int kTries = 10;
constexpr size_t kLeadsInFirstPage =
    (kRegistryPageBytes - kLeadsOffset) / sizeof(RegistryLead);

// FNV-1a, which is the same in all programs.
Bytes LockOfName(absl::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return {kNameLocks + static_cast<off_t>(hash & kNameLockMask)};
}

Bytes LockOfPage(size_t page) {
  return {kPageLocks + static_cast<off_t>(page)};
}

off_t OffsetOf(size_t page) {
  return static_cast<off_t>(kPagesOffset + page * kRegistryPageBytes);
}

bool Lock(int fd, int command, Bytes bytes, short type, struct flock& lock) {
  lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = bytes.start;
  lock.l_len = bytes.size;
  return fcntl(fd, command, &lock) == 0;
}

bool SetLock(int fd, Bytes bytes, short type) {
  struct flock lock;
  return Lock(fd, F_OFD_SETLK, bytes, type, lock);
}

bool CanLock(int fd, Bytes bytes) {
  struct flock lock;
  return Lock(fd, F_OFD_GETLK, bytes, F_WRLCK, lock) && lock.l_type == F_UNLCK;
}

absl::Status FileError(int error, absl::string_view call,
                       absl::string_view path) {
  return ErrnoStatus(error,
                     absl::StrCat("SharedMemory: ", call, "(\"", path, "\")"));
}

absl::Status WriteAt(int fd, const void* bytes, size_t size, off_t offset) {
  const ssize_t done =
      RetryOnEintr([&] { return pwrite(fd, bytes, size, offset); });
  if (done == static_cast<ssize_t>(size)) return absl::OkStatus();
  return ErrnoStatus(done < 0 ? errno : ENOSPC,
                     "SharedMemory: pwrite to the registry of names");
}

// As much as there is; the rest is 0.
absl::Status ReadAt(int fd, void* bytes, size_t size, off_t offset) {
  std::memset(bytes, 0, size);
  if (RetryOnEintr([&] { return pread(fd, bytes, size, offset); }) >= 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "SharedMemory: pread of the registry of names");
}

// Makes one that has its header before it has its name. That another is sooner
// is fine.
absl::Status CreateFile(const std::string& path) {
  const Fd fd(open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, kMode));
  if (!fd.is_open()) return FileError(errno, "open", kFolder);
  if (fchmod(fd.get(), kMode) != 0) return FileError(errno, "fchmod", path);
  MP_RETURN_IF_ERROR(
      WriteAt(fd.get(), &kRegistryHeader, sizeof(kRegistryHeader), 0));
  if (LinkFile(fd.get(), path) || errno == EEXIST) return absl::OkStatus();
  return FileError(errno, "linkat", path);
}

absl::StatusOr<Fd> OpenFile(const std::string& path) {
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  Fd fd(open(path.c_str(), O_RDWR | kFlags));
  if (!fd.is_open() && errno == EROFS) {
    fd = Fd(open(path.c_str(), O_RDONLY | kFlags));
  }
  if (fd.is_open()) return Fd::AboveStdio(std::move(fd));
  return FileError(errno, "open", path);
}

absl::StatusOr<Fd> OpenOrCreate(const std::string& path,
                                RegistryFile::IfNone if_none) {
  absl::StatusOr<Fd> fd;
  for (int i = 0; i < kTries; ++i) {
    fd = OpenFile(path);
    if (!absl::IsNotFound(fd.status()) ||
        if_none == RegistryFile::IfNone::kFail) {
      break;
    }
    MP_RETURN_IF_ERROR(CreateFile(path));
  }
  return fd;
}

absl::Status CheckOwner(const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode) && info.st_uid == geteuid()) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "SharedMemory: ", path, ", the registry of names, is user ", info.st_uid,
      "'s or no file; blocks without `track` need none"));
}

// Writes a header that is damaged anew: what is behind it is checked wherever it
// is read. That of another version is left to the programs that have that.
absl::Status EnsureHeader(int fd, const struct stat& info,
                          const std::string& path) {
  RegistryHeader header;
  MP_RETURN_IF_ERROR(ReadAt(fd, &header, sizeof(header), 0));
  if (std::memcmp(&header, &kRegistryHeader, sizeof(header)) == 0) {
    return absl::OkStatus();
  }
  const bool is_damaged = std::memcmp(header.magic, kRegistryHeader.magic,
                                      sizeof(header.magic)) != 0;
  // With another name it is something else, too, and not ours to mend.
  if (is_damaged && info.st_nlink <= 1 &&
      WriteAt(fd, &kRegistryHeader, sizeof(kRegistryHeader), 0).ok()) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "SharedMemory: ", path, ", the registry of names, is ",
      is_damaged ? "damaged"
                 : absl::StrCat("of version ", header.version, " and not ",
                                kRegistryHeader.version),
      "; remove it when nobody uses it, or make blocks without `track`"));
}

}  // namespace

std::string PathOfName(absl::string_view name) {
  return absl::StrCat(kFolder, "/", name);
}

std::optional<struct stat> StatOfName(const std::string& name) {
  struct stat info;
  if (lstat(PathOfName(name).c_str(), &info) != 0) return std::nullopt;
  return info;
}

KeptPage::KeptPage(KeptPage&& other) noexcept
    : number_(other.number_), memory_(std::exchange(other.memory_, nullptr)) {}

KeptPage& KeptPage::operator=(KeptPage&& other) noexcept {
  std::swap(number_, other.number_);
  std::swap(memory_, other.memory_);
  return *this;
}

KeptPage::~KeptPage() {
  if (memory_ != nullptr) munmap(memory_, kRegistryPageBytes);
}

absl::StatusOr<KeptPage> KeptPage::Map(int fd, size_t offset, size_t number,
                                       int protection) {
  void* const memory = mmap(nullptr, kRegistryPageBytes, protection, MAP_SHARED,
                            fd, static_cast<off_t>(offset));
  if (memory == MAP_FAILED) {
    return ErrnoStatus(errno, "SharedMemory: mmap of the registry of names");
  }
  KeptPage page(number, memory);
  if (madvise(memory, kRegistryPageBytes, MADV_DONTFORK) != 0) {
    return ErrnoStatus(errno, "SharedMemory: madvise(MADV_DONTFORK)");
  }
  return page;
}

RegistryLead KeptPage::lead(size_t index) const {
  const char* const leads = static_cast<const char*>(memory_) + kLeadsOffset;
  return __atomic_load_n(reinterpret_cast<const RegistryLead*>(leads) + index,
                         __ATOMIC_RELAXED);
}

RegistryRecord& KeptPage::record(size_t index) const {
  return static_cast<RegistryPage*>(memory_)->records[index];
}

absl::StatusOr<RegistryFile> RegistryFile::Open(IfNone if_none) {
  std::string path = PathOfName(absl::StrCat(".mp_owners.", geteuid()));
  MP_ASSIGN_OR_RETURN(Fd fd, OpenOrCreate(path, if_none));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(errno, "fstat", path);
  MP_RETURN_IF_ERROR(CheckOwner(info, path));
  MP_RETURN_IF_ERROR(EnsureHeader(fd.get(), info, path));
  RegistryFile file(std::move(fd), std::move(path), info);
  // Without it, what it has is read.
  auto first = KeptPage::Map(file.fd_.get(), 0, 0, PROT_READ);
  if (first.ok()) file.first_ = *std::move(first);
  return file;
}

RegistryFile::RegistryFile(Fd fd, std::string path, const struct stat& info)
    : fd_(std::move(fd)), path_(std::move(path)), id_(FileId::Of(info)) {
  CountPages().IgnoreError();
}

RegistryFile& RegistryFile::operator=(RegistryFile&& other) noexcept {
  Close();
  fd_ = std::move(other.fd_);
  path_ = std::move(other.path_);
  id_ = other.id_;
  pages_ = other.pages_;
  first_ = std::move(other.first_);
  return *this;
}

void RegistryFile::Close() {
  struct stat info;
  if (!fd_.is_open()) return;
  // Unless the program has closed it, and opened another.
  if (fstat(fd_.get(), &info) != 0 || FileId::Of(info) != id_) {
    static_cast<void>(fd_.Release());
  }
  fd_.Close();
}

absl::Status RegistryFile::CountPages() {
  struct stat info;
  if (fstat(fd_.get(), &info) != 0 || FileId::Of(info) != id_ ||
      info.st_nlink == 0 || info.st_uid != geteuid() ||
      info.st_size < static_cast<off_t>(sizeof(RegistryHeader))) {
    return absl::UnavailableError(
        absl::StrCat("SharedMemory: ", path_, " is another file by now"));
  }
  const off_t all = info.st_size - static_cast<off_t>(kPagesOffset);
  pages_ = std::clamp<off_t>(all / static_cast<off_t>(kRegistryPageBytes), 0,
                             kMaxRegistryPages);
  return absl::OkStatus();
}

bool RegistryFile::IsCurrent(std::optional<uint64_t> device) {
  struct stat info;
  if (!CountPages().ok()) return false;
  if (device.has_value()) return *device == id_.device;
  return lstat(path_.c_str(), &info) == 0 && FileId::Of(info) == id_;
}

bool RegistryFile::IsUnlinked() const {
  struct stat info;
  return fstat(fd_.get(), &info) == 0 && FileId::Of(info) == id_ &&
         info.st_nlink == 0;
}

absl::StatusOr<std::vector<RegistryLead>> RegistryFile::Leads() const {
  std::vector<RegistryLead> leads(pages_);
  if (leads.size() <= kLeadsInFirstPage && first_.is_mapped()) {
    for (size_t i = 0; i < leads.size(); ++i) leads[i] = first_.lead(i);
    return leads;
  }
  MP_RETURN_IF_ERROR(ReadAt(fd_.get(), leads.data(),
                            leads.size() * sizeof(RegistryLead), kLeadsOffset));
  return leads;
}

absl::Status RegistryFile::SetLead(size_t page, RegistryLead lead) const {
  return WriteAt(fd_.get(), &lead, sizeof(lead),
                 kLeadsOffset + page * sizeof(lead));
}

absl::StatusOr<RegistryPage> RegistryFile::Read(size_t page) const {
  RegistryPage result;
  MP_RETURN_IF_ERROR(
      ReadAt(fd_.get(), &result, sizeof(result), OffsetOf(page)));
  return result;
}

bool RegistryFile::IsLocked(size_t page) const {
  return !CanLock(fd_.get(), LockOfPage(page));
}

bool RegistryFile::TryLockSweep() const {
  return SetLock(fd_.get(), kSweepLock, F_WRLCK);
}

void RegistryFile::UnlockSweep() const {
  SetLock(fd_.get(), kSweepLock, F_UNLCK);
}

bool RegistryFile::IsBeingSwept() const {
  return !CanLock(fd_.get(), kSweepLock);
}

bool RegistryFile::TryLockName(absl::string_view name) const {
  // Where nothing can be written, no name can be taken away, either.
  if (!SetLock(fd_.get(), LockOfName(name), F_WRLCK)) return errno == EBADF;
  // Others lock it in the next registry.
  if (!IsUnlinked()) return true;
  UnlockName(name);
  return false;
}

void RegistryFile::UnlockName(absl::string_view name) const {
  SetLock(fd_.get(), LockOfName(name), F_UNLCK);
}

bool RegistryFile::HasOwners() const {
  const auto leads = Leads();
  return !leads.ok() ||
         !std::all_of(leads->begin(), leads->end(),
                      [](RegistryLead lead) { return lead == 0; });
}

bool RegistryFile::RemoveIfUnused() {
  if (HasOwners() || !SetLock(fd_.get(), kAllLocks, F_WRLCK)) return false;
  const bool removed =
      IsCurrent(std::nullopt) && !HasOwners() && unlink(path_.c_str()) == 0;
  SetLock(fd_.get(), kAllLocks, F_UNLCK);
  return removed;
}

bool RegistryFile::IsBeingRemoved() const {
  return !CanLock(fd_.get(), kLockOfRemover);
}

absl::StatusOr<Fd> RegistryFile::OpenAgain() const {
  absl::StatusOr<Fd> fd = OpenFile(path_);
  if (!fd.ok() && !absl::IsNotFound(fd.status())) return fd;
  struct stat info;
  if (fd.ok() && fstat(fd->get(), &info) == 0 && FileId::Of(info) == id_) {
    return fd;
  }
  return absl::UnavailableError(
      absl::StrCat("SharedMemory: ", path_, " is another file by now"));
}

bool RegistryFile::TryLockBy(const Fd& description, size_t page) {
  return SetLock(description.get(), LockOfPage(page), F_WRLCK);
}

void RegistryFile::UnlockBy(const Fd& description, size_t page) {
  SetLock(description.get(), LockOfPage(page), F_UNLCK);
}

absl::StatusOr<KeptPage> RegistryFile::Keep(const Fd& description,
                                            size_t page) {
  // By writing, which is refused where touching it would be a signal.
  const char zeros[kRegistryPageBytes] = {};
  MP_RETURN_IF_ERROR(
      WriteAt(description.get(), zeros, sizeof(zeros), OffsetOf(page)));
  return KeptPage::Map(description.get(), OffsetOf(page), page,
                       PROT_READ | PROT_WRITE);
}

}  // namespace mp::internal
