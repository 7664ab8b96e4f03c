#ifndef MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_
#define MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/sharedmem/internal/file_id.h"

// Blocks of shared memory that have a name: files in /dev/shm, as shm_open(3)
// and CPython's SharedMemory make them, and who is to remove those of ours.
//
// docs/shared_memory_registry.md says how a block tells that it has owners, and
// why none of the steps here leaves a name behind or removes a stranger's.
//
// Threads: all of it is safe from any.
// Fork:    a child owns nothing of its parent's.
// Death:   a process killed at any step leaves either no name, or one that the
//          next RemoveOrphanedBlocks() of any process of this user removes.
namespace mp::internal {

struct NamedBlock {
  Fd fd;
  std::string name;
};

struct NewBlock {
  int64_t size_bytes = 0;
  bool track = true;
  // What it begins with, the rest being zeros.
  absl::string_view contents = {};
};

// Makes a block that has its size, its contents and, with `track`, this process
// as its owner from the first moment that anybody can see it by its name.
//
// Errors:
//   kAlreadyExists      the name is taken.
//   kResourceExhausted  /dev/shm has no room for it, or this process none left
//                       for descriptors, memory or files of that size.
absl::StatusOr<NamedBlock> CreateNamedBlock(const std::string& name,
                                            const NewBlock& what);

// The same under the first name of `next_name` that is free.
absl::StatusOr<NamedBlock> CreateBlockUnderNewName(
    const std::function<std::string()>& next_name, const NewBlock& what);

// Errors:
//   kNotFound          there is none of that name.
//   kPermissionDenied  it is another user's.
//   kInvalidArgument   it is no block of memory.
absl::StatusOr<NamedBlock> OpenNamedBlock(const std::string& name,
                                          bool read_only);

// Takes the name away. With `id`, only from that very file.
//
// Errors:
//   kNotFound  there is none of that name, or it is another file's by now.
absl::Status UnlinkNamedBlock(const std::string& name,
                              std::optional<FileId> id = std::nullopt);

// Makes this process an owner of a block, besides those it may have. The name
// goes when the last owner has ended.
//
// Errors:
//   kNotFound  it has lost its name.
absl::Status OwnNamedBlock(const NamedBlock& block);

// Undoes that. With no owner left, the block is one that nobody removes.
absl::Status DisownNamedBlock(const NamedBlock& block);

// Looks for blocks of this user that had owners and have none that lives, and
// takes their names away.
void RemoveOrphanedBlocks();

struct NamedBlockInfo {
  std::string name;
  int64_t size_bytes = 0;
};

// Returns the blocks of this user that have owners, by their names.
absl::StatusOr<std::vector<NamedBlockInfo>> ListOwnedBlocks();

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_NAMED_BLOCK_H_
