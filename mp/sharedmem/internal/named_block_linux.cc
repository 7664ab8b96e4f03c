#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/block_registry.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/link_file.h"
#include "mp/sharedmem/internal/memory_room.h"
#include "mp/sharedmem/internal/named_block.h"
#include "mp/sharedmem/internal/registry_file.h"

namespace mp::internal {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr mode_t kMode = S_IRUSR | S_IWUSR;
constexpr int kNamesToTry = 1000;

absl::Status NamedError(int error, absl::string_view call,
                        absl::string_view name) {
  return ErrnoStatus(error,
                     absl::StrCat("SharedMemory: ", call, "(\"",
                                  absl::CHexEscape(PathOfName(name)), "\")"));
}

absl::Status GiveName(const Fd& fd, const std::string& name) {
  if (LinkFile(fd.get(), PathOfName(name))) return absl::OkStatus();
  if (errno == EOPNOTSUPP) {
    return absl::FailedPreconditionError(
        "SharedMemory: a named block needs /proc to be mounted");
  }
  return NamedError(errno, "linkat", name);
}

absl::StatusOr<NamedBlock> OpenOnce(const std::string& name, bool read_only) {
  // Not to wait for the other end of a pipe, nor to follow a link elsewhere.
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  NamedBlock block;
  block.fd = Fd(
      open(PathOfName(name).c_str(), (read_only ? O_RDONLY : O_RDWR) | kFlags));
  if (!block.fd.is_open()) return NamedError(errno, "open", name);
  block.fd = Fd::AboveStdio(std::move(block.fd));
  if (fstat(block.fd.get(), &block.info) == 0) return block;
  return ErrnoStatus(errno, "SharedMemory: fstat");
}

}  // namespace

absl::Status FillNewBlock(const Fd& fd, const NewBlock& what) {
  if (ftruncate(fd.get(), what.size_bytes) != 0) {
    return ErrnoStatus(errno, absl::StrCat("SharedMemory: ftruncate to ",
                                           what.size_bytes, " bytes"));
  }
  MP_RETURN_IF_ERROR(WriteAll(fd.get(), what.contents));
  if (!what.reserve) return absl::OkStatus();
  return AllocatePages(fd.get(), what.size_bytes);
}

absl::StatusOr<Fd> CreateNamelessBlock(const NewBlock& what) {
  Fd fd(open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, kMode));
  if (!fd.is_open()) {
    return ErrnoStatus(errno, "SharedMemory: open(\"/dev/shm\", O_TMPFILE)");
  }
  fd = Fd::AboveStdio(std::move(fd));
  MP_RETURN_IF_ERROR(CheckFileMayGrow(fd.get(), 0, what.size_bytes));
  MP_RETURN_IF_ERROR(FillNewBlock(fd, what));
  return fd;
}

absl::StatusOr<std::string> NameBlock(
    const Fd& fd, FileId id, bool track, bool is_one,
    const std::function<std::string()>& next_name) {
  BlockRegistry& registry = BlockRegistry::Get();
  if (!track) registry.Look(id.device);
  std::string name;
  absl::Status named;
  for (int i = 0; i < (is_one ? 1 : kNamesToTry); ++i) {
    name = next_name();
    const auto give = [&] { return GiveName(fd, name); };
    named = track ? registry.OwnNew(id, name, give) : give();
    if (!absl::IsAlreadyExists(named)) break;
  }
  MP_RETURN_IF_ERROR(named);
  return name;
}

absl::StatusOr<NamedBlock> OpenNamedBlock(const std::string& name,
                                          bool read_only) {
  absl::StatusOr<NamedBlock> block = OpenOnce(name, read_only);
  // With what is there, one knows where /dev/shm is.
  const auto device =
      block.ok() ? std::optional<uint64_t>(block->info.st_dev) : std::nullopt;
  BlockRegistry::Get().Look(device);
  MP_RETURN_IF_ERROR(block.status());
  // That, or another's look, may have taken it away.
  if (fstat(block->fd.get(), &block->info) == 0 && block->info.st_nlink == 0) {
    MP_ASSIGN_OR_RETURN(block, OpenOnce(name, read_only));
  }
  if (!S_ISREG(block->info.st_mode) || block->info.st_size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("SharedMemory: ", absl::CHexEscape(PathOfName(name)),
                     " is no file, or an empty one"));
  }
  if (block->info.st_uid == geteuid()) return block;
  return absl::PermissionDeniedError(absl::StrCat(
      "SharedMemory: ", absl::CHexEscape(PathOfName(name)), " is user ",
      block->info.st_uid, "'s, who could cut it short under our hands"));
}

}  // namespace mp::internal
