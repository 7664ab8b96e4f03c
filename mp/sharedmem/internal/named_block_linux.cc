#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/block_lock.h"
#include "mp/sharedmem/internal/block_owners.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/memory_room.h"
#include "mp/sharedmem/internal/named_block.h"

namespace mp::internal {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr mode_t kMode = S_IRUSR | S_IWUSR;
// The mark of a block that has owners. It means nothing else for a file that
// is no program, and no umask takes it off.
constexpr mode_t kOwned = S_ISVTX;
// The bits that stay as they are.
constexpr mode_t kAccess =
    S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;
// How long somebody may be between a look and a removal, in milliseconds.
constexpr int kPatience = 1000;
constexpr int kNamesToTry = 1000;

std::string PathOf(absl::string_view name) {
  return absl::StrCat(kFolder, "/", name);
}

absl::Status NamedError(int error, absl::string_view call,
                        absl::string_view name) {
  return ErrnoStatus(error,
                     absl::StrCat("SharedMemory: ", call, "(\"",
                                  absl::CHexEscape(PathOf(name)), "\")"));
}

absl::Status NotThere(absl::string_view name) {
  return NamedError(ENOENT, "open", name);
}

bool IsOwnedByThisUser(const struct stat& info) {
  constexpr mode_t kBits =
      S_ISUID | S_ISGID | S_ISVTX | S_IXUSR | S_IXGRP | S_IXOTH;
  return S_ISREG(info.st_mode) && (info.st_mode & kBits) == kOwned &&
         info.st_uid == geteuid();
}

// The file that has a name now.
std::optional<FileId> FileOf(const std::string& name) {
  struct stat info;
  if (lstat(PathOf(name).c_str(), &info) != 0) return std::nullopt;
  return FileId::Of(info);
}

absl::StatusOr<Fd> OpenFileOf(const std::string& name, int flags) {
  // Not to wait for the other end of a pipe, nor to follow a link elsewhere.
  Fd fd(
      open(PathOf(name).c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.is_open()) return NamedError(errno, "open", name);
  return Fd::AboveStdio(std::move(fd));
}

absl::StatusOr<struct stat> StatOf(const Fd& fd) {
  struct stat info;
  if (fstat(fd.get(), &info) != 0) {
    return ErrnoStatus(errno, "SharedMemory: fstat");
  }
  return info;
}

// A file of /dev/shm that has no name yet.
absl::StatusOr<Fd> CreateNameless(const NewBlock& what) {
  Fd fd(open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC,
             what.track ? kMode | kOwned : kMode));
  if (!fd.is_open()) {
    return ErrnoStatus(errno, "SharedMemory: open(\"/dev/shm\", O_TMPFILE)");
  }
  fd = Fd::AboveStdio(std::move(fd));
  MP_RETURN_IF_ERROR(CheckFileMayGrow(fd.get(), 0, what.size_bytes));
  if (ftruncate(fd.get(), what.size_bytes) != 0) {
    return ErrnoStatus(errno, absl::StrCat("SharedMemory: ftruncate to ",
                                           what.size_bytes, " bytes"));
  }
  MP_RETURN_IF_ERROR(WriteAll(fd.get(), what.contents));
  return fd;
}

absl::Status GiveName(const Fd& fd, const std::string& name) {
  const std::string self = absl::StrCat("/proc/self/fd/", fd.get());
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, PathOf(name).c_str(),
             AT_SYMLINK_FOLLOW) == 0) {
    return absl::OkStatus();
  }
  if (errno == ENOENT) {
    return absl::FailedPreconditionError(
        "SharedMemory: a named block needs /proc to be mounted");
  }
  return NamedError(errno, "linkat", name);
}

// Takes a name away from the file that `block` is open on. Its NameLock is held
// by the caller.
absl::Status RemoveName(const std::string& name, FileId id) {
  if (FileOf(name) != id) return NotThere(name);
  if (unlink(PathOf(name).c_str()) == 0) return absl::OkStatus();
  return NamedError(errno, "unlink", name);
}

// Whether a block is one of this user's that lacks an owner.
bool IsOrphan(const Fd& block) {
  const auto info = StatOf(block);
  return info.ok() && IsOwnedByThisUser(*info) && !BlockHasOwner(block);
}

// Takes a name away if it is that of an orphan. Does not wait: whoever is about
// the same will do it.
void RemoveIfOrphan(const std::string& name) {
  const absl::StatusOr<Fd> block = OpenFileOf(name, O_RDWR);
  if (!block.ok() || !IsOrphan(*block)) return;
  const absl::StatusOr<NameLock> lock = NameLock::Take(*block, /*tries=*/0);
  // Somebody may have become its owner before we had the lock.
  if (!lock.ok() || !IsOrphan(*block)) return;
  const auto info = StatOf(*block);
  if (info.ok()) RemoveName(name, FileId::Of(*info)).IgnoreError();
}

// A description of its own of the same block, to lock by.
absl::StatusOr<Fd> OpenAgain(const NamedBlock& block) {
  MP_ASSIGN_OR_RETURN(Fd fd, OpenFileOf(block.name, O_RDWR));
  MP_ASSIGN_OR_RETURN(const struct stat now, StatOf(fd));
  MP_ASSIGN_OR_RETURN(const struct stat then, StatOf(block.fd));
  if (FileId::Of(now) != FileId::Of(then)) return NotThere(block.name);
  return fd;
}

absl::Status SetMode(const Fd& fd, mode_t mode) {
  if (fchmod(fd.get(), mode) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "SharedMemory: fchmod");
}

struct DirCloser {
  void operator()(DIR* folder) const { closedir(folder); }
};

// The names of blocks that carry the mark.
absl::StatusOr<std::vector<NamedBlockInfo>> OwnedBlocks() {
  const std::unique_ptr<DIR, DirCloser> folder(opendir(kFolder));
  if (folder == nullptr) {
    return ErrnoStatus(errno, "SharedMemory: opendir(\"/dev/shm\")");
  }
  std::vector<NamedBlockInfo> blocks;
  while (const dirent* const entry = readdir(folder.get())) {
    struct stat info;
    if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) continue;
    if (fstatat(dirfd(folder.get()), entry->d_name, &info,
                AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    if (!IsOwnedByThisUser(info)) continue;
    blocks.push_back({entry->d_name, info.st_size});
  }
  return blocks;
}

}  // namespace

void RemoveIfOrphanNamed(const std::string& name) { RemoveIfOrphan(name); }

absl::StatusOr<NamedBlock> CreateNamedBlock(const std::string& name,
                                            const NewBlock& what) {
  MP_ASSIGN_OR_RETURN(Fd fd, CreateNameless(what));
  NamedBlock block = {std::move(fd), name};
  if (!what.track) {
    MP_RETURN_IF_ERROR(GiveName(block.fd, name));
    return block;
  }
  // The lock comes before the name: nobody sees the block without an owner.
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(block.fd));
  MP_RETURN_IF_ERROR(BlockOwners::Get().Add(block.fd, name, FileId::Of(info),
                                            [] { return absl::OkStatus(); }));
  absl::Status named = GiveName(block.fd, name);
  if (!named.ok()) {
    BlockOwners::Get().Remove(FileId::Of(info));
    return named;
  }
  return block;
}

absl::StatusOr<NamedBlock> CreateBlockUnderNewName(
    const std::function<std::string()>& next_name, const NewBlock& what) {
  absl::StatusOr<NamedBlock> block;
  for (int i = 0; i < kNamesToTry; ++i) {
    block = CreateNamedBlock(next_name(), what);
    if (!absl::IsAlreadyExists(block.status())) break;
  }
  return block;
}

absl::StatusOr<NamedBlock> OpenNamedBlock(const std::string& name,
                                          bool read_only) {
  MP_ASSIGN_OR_RETURN(Fd fd, OpenFileOf(name, read_only ? O_RDONLY : O_RDWR));
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(fd));
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("SharedMemory: ", absl::CHexEscape(PathOf(name)),
                     " is no file, or an empty one"));
  }
  if (info.st_uid == geteuid()) return NamedBlock{std::move(fd), name};
  return absl::PermissionDeniedError(absl::StrCat(
      "SharedMemory: ", absl::CHexEscape(PathOf(name)), " is user ",
      info.st_uid, "'s, who could cut it short under our hands"));
}

absl::Status UnlinkNamedBlock(const std::string& name,
                              std::optional<FileId> id) {
  const absl::StatusOr<Fd> fd = OpenFileOf(name, O_RDWR);
  if (!fd.ok()) return fd.status();
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(*fd));
  if (id.has_value() && *id != FileId::Of(info)) return NotThere(name);
  {
    // One who holds it for so long is stopped, and must not stop us. We go on
    // without, as unlink(1) would.
    const absl::StatusOr<NameLock> lock = NameLock::Take(*fd, kPatience);
    MP_RETURN_IF_ERROR(RemoveName(name, FileId::Of(info)));
  }
  BlockOwners::Get().Remove(FileId::Of(info));
  return absl::OkStatus();
}

absl::Status OwnNamedBlock(const NamedBlock& block) {
  MP_ASSIGN_OR_RETURN(const Fd fd, OpenAgain(block));
  MP_ASSIGN_OR_RETURN(const NameLock lock, NameLock::Take(fd, kPatience));
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(fd));
  const FileId id = FileId::Of(info);
  return BlockOwners::Get().Add(fd, block.name, id, [&]() -> absl::Status {
    if (FileOf(block.name) != id) return NotThere(block.name);
    if ((info.st_mode & kOwned) != 0) return absl::OkStatus();
    return SetMode(fd, (info.st_mode & kAccess) | kOwned);
  });
}

absl::Status DisownNamedBlock(const NamedBlock& block) {
  MP_ASSIGN_OR_RETURN(const Fd fd, OpenAgain(block));
  MP_ASSIGN_OR_RETURN(const NameLock lock, NameLock::Take(fd, kPatience));
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(fd));
  // Of one that another owned, dead by now, the name still has to go.
  const bool was_own = BlockOwners::Get().Remove(FileId::Of(info));
  if (!was_own || BlockHasOwner(fd)) return absl::OkStatus();
  return SetMode(fd, info.st_mode & kAccess);
}

void RemoveOrphanedBlocks() {
  const auto blocks = OwnedBlocks();
  if (!blocks.ok()) return;
  for (const NamedBlockInfo& block : *blocks) RemoveIfOrphan(block.name);
}

absl::StatusOr<std::vector<NamedBlockInfo>> ListOwnedBlocks() {
  RemoveOrphanedBlocks();
  MP_ASSIGN_OR_RETURN(auto blocks, OwnedBlocks());
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return blocks;
}

}  // namespace mp::internal
