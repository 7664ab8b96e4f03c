#include "mp/sharedmem/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/internal/block_name.h"
#include "mp/sharedmem/internal/block_registry.h"
#include "mp/sharedmem/internal/file_id.h"
#include "mp/sharedmem/internal/fill_file.h"
#include "mp/sharedmem/internal/mapping.h"
#include "mp/sharedmem/internal/memory_room.h"
#include "mp/sharedmem/internal/named_block.h"

namespace mp {

using internal::BlockRegistry;
using internal::FileId;
using internal::Mapping;
using internal::NamedBlock;
using internal::NewBlock;
using internal::RegisteredBlock;

namespace {

// What Fill() copies again and again.
constexpr size_t kFillBytes = size_t{1} << 20;

// What a handle knows besides its memory.
struct Traits {
  std::string name;
  bool resizable = false;
  bool read_only = false;
};

// What the name of a block without one is.
const std::string& Nothing() {
  static const std::string& nothing = *new std::string();
  return nothing;
}
// Before main(), so that no forked child finds it half made.
[[maybe_unused]] const bool made_early = (Nothing(), true);

absl::StatusOr<struct stat> StatOf(const Fd& fd) {
  struct stat info;
  if (fstat(fd.get(), &info) == 0) return info;
  return ErrnoStatus(errno, "SharedMemory: fstat");
}

// A memfd, which nobody can cut short any more.
absl::StatusOr<Fd> CreateAnonymous(const NewBlock& what, bool resizable) {
  Fd fd(memfd_create("mp.SharedMemory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.is_open()) return ErrnoStatus(errno, "SharedMemory: memfd_create");
  fd = Fd::AboveStdio(std::move(fd));
  MP_RETURN_IF_ERROR(internal::CheckFileLimit(what.size_bytes));
  MP_RETURN_IF_ERROR(internal::FillNewBlock(fd, what));
  const int seals = resizable ? F_SEAL_SHRINK : F_SEAL_SHRINK | F_SEAL_GROW;
  if (fcntl(fd.get(), F_ADD_SEALS, seals) != 0) {
    return ErrnoStatus(errno, "SharedMemory: fcntl(F_ADD_SEALS)");
  }
  return fd;
}

// Makes a file larger, and never smaller, also if others do so at once: by its
// new last page, which is a step of the kernel's.
absl::Status GrowFile(const Fd& fd, int64_t size_bytes) {
  const int done =
      RetryOnEintr([&] { return fallocate(fd.get(), 0, size_bytes - 1, 1); });
  if (done == 0) return absl::OkStatus();
  return ErrnoStatus(
      errno, absl::StrCat("SharedMemory::Resize to ", size_bytes, " bytes"));
}

// Whether a descriptor that came from elsewhere is memory that stays.
absl::Status CheckAnonymous(const Fd& fd) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0) {
    return absl::DataLossError("SharedMemory: what came is not memory");
  }
  if ((seals & F_SEAL_SHRINK) != 0) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(fd));
  if (info.st_uid == geteuid()) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("SharedMemory: what came is not sealed, and user ",
                   info.st_uid, " could cut it short under our hands"));
}

absl::StatusOr<NamedBlock> ReadAnonymous(Decoder& decoder) {
  NamedBlock block;
  MP_ASSIGN_OR_RETURN(block.fd, decoder.ReadHandle());
  MP_RETURN_IF_ERROR(CheckAnonymous(block.fd));
  MP_ASSIGN_OR_RETURN(block.info, StatOf(block.fd));
  return block;
}

absl::StatusOr<NamedBlock> ReadNamed(Decoder& decoder, const Traits& traits) {
  FileId id;
  MP_ASSIGN_OR_RETURN(id.device, decoder.Read<uint64_t>());
  MP_ASSIGN_OR_RETURN(id.inode, decoder.Read<uint64_t>());
  const auto name = internal::CheckedBlockName(traits.name);
  if (!name.ok()) return absl::DataLossError(name.status().message());
  MP_ASSIGN_OR_RETURN(NamedBlock block,
                      internal::OpenNamedBlock(*name, traits.read_only));
  if (FileId::Of(block.info) == id) return block;
  return absl::NotFoundError(
      absl::StrCat("SharedMemory: the block that was \"", *name,
                   "\" has been unlinked, and another one has its name"));
}

}  // namespace

struct SharedMemory::State {
  State(Fd fd, FileId id, Traits traits, Mapping mapping)
      : fd(std::move(fd)),
        id(id),
        traits(std::move(traits)),
        mapping(std::move(mapping)) {}
  ~State() {
    // Unless the program has closed it, and opened another.
    if (!HasFd()) static_cast<void>(fd.Release());
  }

  // Maps `size_bytes` of what `fd` is open on.
  static absl::StatusOr<std::shared_ptr<const State>> Map(Fd fd, FileId id,
                                                          int64_t size_bytes,
                                                          Traits traits) {
    if (size_bytes <= 0) {
      return absl::InvalidArgumentError("SharedMemory: an empty file");
    }
    MP_ASSIGN_OR_RETURN(Mapping mapping, Mapping::Create(fd.get(), size_bytes,
                                                         traits.read_only));
    return std::make_shared<const State>(std::move(fd), id, std::move(traits),
                                         std::move(mapping));
  }

  // Maps it again.
  absl::StatusOr<std::shared_ptr<const State>> MapAgain(
      int64_t size_bytes, Traits new_traits) const {
    MP_ASSIGN_OR_RETURN(Fd second, fd.Dup());
    return Map(std::move(second), id, size_bytes, std::move(new_traits));
  }

  bool HasFd() const {
    struct stat info;
    return fstat(fd.get(), &info) == 0 && FileId::Of(info) == id;
  }

  absl::Status CheckFd() const {
    if (HasFd()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        "SharedMemory: the block's descriptor has been closed, by a program "
        "that closes what it does not know");
  }

  // Whether nobody gets it to write any more.
  bool IsSealed() const {
    const int seals = fcntl(fd.get(), F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_FUTURE_WRITE) != 0;
  }

  Fd fd;
  const FileId id;
  const Traits traits;
  const Mapping mapping;
};

SharedMemory::SharedMemory() = default;

absl::StatusOr<SharedMemory> SharedMemory::Create(int64_t size_bytes,
                                                  const Options& options) {
  return CreateWith(size_bytes, "", options);
}

absl::StatusOr<SharedMemory> SharedMemory::From(absl::string_view bytes,
                                                const Options& options) {
  return CreateWith(bytes.size(), bytes, options);
}

// A named one gets its name when all else has been done, so that there is
// nothing to undo.
absl::StatusOr<SharedMemory> SharedMemory::CreateWith(
    int64_t size_bytes, absl::string_view contents, const Options& options) {
  if (size_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "SharedMemory::Create: a block has at least 1 byte, not ", size_bytes));
  }
  const bool named = options.named || !options.name.empty();
  Traits traits;
  traits.resizable = options.resizable;
  if (!options.name.empty()) {
    MP_ASSIGN_OR_RETURN(traits.name, internal::CheckedBlockName(options.name));
  }
  const NewBlock what = {size_bytes, contents, options.reserve};
  MP_ASSIGN_OR_RETURN(Fd fd, named ? internal::CreateNamelessBlock(what)
                                   : CreateAnonymous(what, options.resizable));
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(fd));
  MP_ASSIGN_OR_RETURN(Mapping mapping,
                      Mapping::Create(fd.get(), size_bytes, false));
  if (named) {
    const bool is_given = !traits.name.empty();
    MP_ASSIGN_OR_RETURN(
        traits.name,
        internal::NameBlock(fd, FileId::Of(info), options.track, is_given, [&] {
          return is_given ? traits.name : internal::NewBlockName();
        }));
  }
  return SharedMemory(std::make_shared<const State>(
      std::move(fd), FileId::Of(info), std::move(traits), std::move(mapping)));
}

absl::StatusOr<SharedMemory> SharedMemory::Open(absl::string_view name,
                                                const OpenOptions& options) {
  MP_ASSIGN_OR_RETURN(std::string bare, internal::CheckedBlockName(name));
  MP_ASSIGN_OR_RETURN(NamedBlock block,
                      internal::OpenNamedBlock(bare, options.read_only));
  Traits traits = {.name = std::move(bare), .read_only = options.read_only};
  MP_ASSIGN_OR_RETURN(auto state,
                      State::Map(std::move(block.fd), FileId::Of(block.info),
                                 block.info.st_size, std::move(traits)));
  // Last, as an owner without a handle would be none that anybody wants.
  if (options.track) {
    MP_RETURN_IF_ERROR(BlockRegistry::Get().Own(state->id, state->traits.name));
  }
  return SharedMemory(std::move(state));
}

absl::Status SharedMemory::Unlink(absl::string_view name) {
  MP_ASSIGN_OR_RETURN(const std::string bare, internal::CheckedBlockName(name));
  return BlockRegistry::Get().RemoveName(bare, std::nullopt);
}

absl::StatusOr<std::vector<SharedMemoryInfo>> SharedMemory::List() {
  MP_ASSIGN_OR_RETURN(const std::vector<RegisteredBlock> blocks,
                      BlockRegistry::Get().List());
  std::vector<SharedMemoryInfo> result;
  result.reserve(blocks.size());
  for (const RegisteredBlock& block : blocks) {
    result.push_back({block.name, block.size_bytes});
  }
  return result;
}

absl::Span<char> SharedMemory::data() const {
  if (closed() || read_only()) return {};
  return {state_->mapping.begin(), state_->mapping.size()};
}

absl::string_view SharedMemory::view() const {
  if (closed()) return {};
  return {state_->mapping.begin(), state_->mapping.size()};
}

bool SharedMemory::read_only() const {
  return !closed() && state_->traits.read_only;
}

const std::string& SharedMemory::name() const {
  return closed() ? Nothing() : state_->traits.name;
}

absl::Status SharedMemory::CheckOpen(absl::string_view operation) const {
  if (!closed()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("SharedMemory::", operation, ": the handle is closed"));
}

absl::Status SharedMemory::CheckNamed(absl::string_view operation) const {
  MP_RETURN_IF_ERROR(CheckOpen(operation));
  if (!name().empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("SharedMemory::", operation, ": the block has no name"));
}

absl::Status SharedMemory::CheckWritable(absl::string_view operation) const {
  MP_RETURN_IF_ERROR(CheckOpen(operation));
  if (!read_only()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("SharedMemory::", operation, ": the handle is read-only"));
}

absl::Status SharedMemory::WriteOrCopy(absl::string_view bytes,
                                       size_t offset) const {
  char* const memory = state_->mapping.begin();
  if (state_->HasFd()) {
    return internal::FillFile(state_->fd.get(), memory, offset, bytes);
  }
  std::memcpy(memory + offset, bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status SharedMemory::CopyFrom(absl::string_view bytes,
                                    size_t offset) const {
  MP_RETURN_IF_ERROR(CheckWritable("CopyFrom"));
  if (offset > size() || bytes.size() > size() - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("SharedMemory::CopyFrom: ", bytes.size(), " bytes at ",
                     offset, " do not fit into ", size()));
  }
  return WriteOrCopy(bytes, offset);
}

absl::Status SharedMemory::Fill(char value) const {
  MP_RETURN_IF_ERROR(CheckWritable("Fill"));
  const std::string chunk(std::min(size(), kFillBytes), value);
  for (size_t offset = 0; offset < size(); offset += chunk.size()) {
    MP_RETURN_IF_ERROR(WriteOrCopy(
        absl::string_view(chunk).substr(0, size() - offset), offset));
  }
  return absl::OkStatus();
}

absl::Status SharedMemory::Reserve() const {
  MP_RETURN_IF_ERROR(CheckWritable("Reserve"));
  MP_RETURN_IF_ERROR(state_->CheckFd());
  return internal::AllocatePages(state_->fd.get(), size());
}

absl::Status SharedMemory::Resize(int64_t size_bytes) {
  MP_RETURN_IF_ERROR(CheckWritable("Resize"));
  MP_RETURN_IF_ERROR(state_->CheckFd());
  if (!state_->traits.resizable) {
    return absl::FailedPreconditionError(
        "SharedMemory::Resize: the block was made without `resizable`");
  }
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(state_->fd));
  if (size_bytes < info.st_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("SharedMemory::Resize: ", size_bytes, " bytes are below ",
                     info.st_size, ", and a block does not shrink"));
  }
  MP_RETURN_IF_ERROR(
      internal::CheckFileMayGrow(state_->fd.get(), info.st_size, size_bytes));
  // Mapped before it grows, so that an error leaves the block as it was.
  MP_ASSIGN_OR_RETURN(auto state, state_->MapAgain(size_bytes, state_->traits));
  MP_RETURN_IF_ERROR(GrowFile(state->fd, size_bytes));
  state_ = std::move(state);
  return absl::OkStatus();
}

absl::Status SharedMemory::Refresh() {
  MP_RETURN_IF_ERROR(CheckOpen("Refresh"));
  MP_RETURN_IF_ERROR(state_->CheckFd());
  MP_ASSIGN_OR_RETURN(const struct stat info, StatOf(state_->fd));
  if (static_cast<size_t>(info.st_size) == size()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(state_, state_->MapAgain(info.st_size, state_->traits));
  return absl::OkStatus();
}

absl::StatusOr<SharedMemory> SharedMemory::ReadOnly() const {
  MP_RETURN_IF_ERROR(CheckOpen("ReadOnly"));
  if (read_only()) return *this;
  MP_RETURN_IF_ERROR(state_->CheckFd());
  if (name().empty() &&
      fcntl(state_->fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0) {
    return ErrnoStatus(errno, "SharedMemory: fcntl(F_SEAL_FUTURE_WRITE)");
  }
  Traits traits = state_->traits;
  traits.read_only = true;
  MP_ASSIGN_OR_RETURN(auto state, state_->MapAgain(size(), std::move(traits)));
  return SharedMemory(std::move(state));
}

absl::Status SharedMemory::Unlink() const {
  MP_RETURN_IF_ERROR(CheckNamed("Unlink"));
  return BlockRegistry::Get().RemoveName(name(), state_->id);
}

absl::Status SharedMemory::TakeOwnership() const {
  MP_RETURN_IF_ERROR(CheckNamed("TakeOwnership"));
  return BlockRegistry::Get().Own(state_->id, name());
}

absl::Status SharedMemory::GiveUpOwnership() const {
  MP_RETURN_IF_ERROR(CheckNamed("GiveUpOwnership"));
  return BlockRegistry::Get().Disown(state_->id, name());
}

void SharedMemory::Close() { state_ = nullptr; }

void Serializer<SharedMemory>::Encode(const SharedMemory& block,
                                      Encoder& encoder) {
  if (absl::Status open = block.CheckOpen("travel"); !open.ok()) {
    return encoder.Fail(std::move(open));
  }
  const SharedMemory::State& state = *block.state_;
  encoder.Write(state.traits.read_only);
  encoder.Write(state.traits.resizable);
  encoder.Write(state.traits.name);
  if (!state.traits.name.empty()) {
    encoder.Write(state.id.device);
    encoder.Write(state.id.inode);
    return;
  }
  if (absl::Status open = state.CheckFd(); !open.ok()) {
    return encoder.Fail(std::move(open));
  }
  if (!state.traits.read_only && state.IsSealed()) {
    return encoder.Fail(absl::FailedPreconditionError(
        "SharedMemory: the block is read-only for others since ReadOnly(); "
        "send the handle that this has returned"));
  }
  encoder.WriteHandle(state.fd.get());
}

absl::StatusOr<SharedMemory> Serializer<SharedMemory>::Decode(
    Decoder& decoder) {
  Traits traits;
  MP_ASSIGN_OR_RETURN(traits.read_only, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(traits.resizable, decoder.Read<bool>());
  MP_ASSIGN_OR_RETURN(traits.name, decoder.Read<std::string>());
  MP_ASSIGN_OR_RETURN(NamedBlock block, traits.name.empty()
                                            ? ReadAnonymous(decoder)
                                            : ReadNamed(decoder, traits));
  MP_ASSIGN_OR_RETURN(
      auto state,
      SharedMemory::State::Map(std::move(block.fd), FileId::Of(block.info),
                               block.info.st_size, std::move(traits)));
  return SharedMemory(std::move(state));
}

}  // namespace mp
