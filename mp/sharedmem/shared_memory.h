#ifndef MP_SHAREDMEM_SHARED_MEMORY_H_
#define MP_SHAREDMEM_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/process/serializer.h"

namespace mp {

struct SharedMemoryOptions {
  // Under what name other programs, CPython's too, find it, at most 255 bytes;
  // a slash in front is dropped. Default: it has none, and needs none to go to
  // other processes.
  std::string name = {};

  // Has a name, and if `name` is empty a new one: "psm_" and 8 digits.
  bool named = false;

  // A name goes when this process has ended, however it ended, unless others
  // have become owners with TakeOwnership(). Otherwise it stays until Unlink().
  bool track = true;

  // Can grow by Resize().
  bool resizable = false;

  // Takes all memory at once, as Reserve() does, so that nobody is surprised
  // later. Costs what touching each page costs: about 1 us for 4 KiB.
  bool reserve = false;
};

struct OpenSharedMemoryOptions {
  // Makes this process an owner too, so that the name goes with its last owner.
  // Default: to open a block never removes it.
  bool track = false;

  // Cannot be written through this handle.
  bool read_only = false;
};

// A named block that has an owner.
struct SharedMemoryInfo {
  std::string name;
  int64_t size_bytes = 0;
};

// A block of memory that several processes have at once.
//
// Example:
//   void Work(mp::SharedMemory block) { block.data()[0] = 'x'; }
//
//   MP_ASSIGN_OR_RETURN(auto block, mp::SharedMemory::Create(1 << 30));
//   mp::Process p(Work, block);  // the very memory, not a copy
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_RETURN_IF_ERROR(p.Join());
//   char first = block.view()[0];
//
// An anonymous block goes with its last user, however that ended. A named one
// is a file of /dev/shm as CPython's are, and is found by them.
//
// Shape:   as many bytes as asked for, zero at first. The memory is taken page
//          by page as it is touched, or by Reserve().
// Units:   sizes in bytes.
// Owns:    a handle: copies are cheap and show the same mapping, which goes
//          with the last of them in a process.
// Threads: handles are values. What is in the memory is not guarded: share a
//          lock beside it.
// Fork:    travels to any process, as an argument or in a message: an anonymous
//          block by descriptor, a named one by its name, which must still be
//          there. A forked child has what its parent had.
// Death:   an anonymous block cannot shrink, so no other process can make an
//          access fail. A named one can be cut short by programs of the same
//          user, which is a SIGBUS here. Names: see `track`.
// Source:  CPython multiprocessing.shared_memory.SharedMemory. Differs:
//          anonymous unless asked; opening a block does not remove it.
class SharedMemory {
 public:
  using Options = SharedMemoryOptions;
  using OpenOptions = OpenSharedMemoryOptions;

  // Makes a block of that size, exactly.
  //
  // Errors:
  //   kInvalidArgument    `size_bytes` is not above 0, or a name cannot be one.
  //   kAlreadyExists      the name is taken.
  //   kResourceExhausted  no descriptors, no address space, or not so much in
  //                       /dev/shm, for files (ulimit -f) or, with `reserve`,
  //                       in the machine.
  //   kPermissionDenied, kDataLoss  with `track`: what has the name of this
  //                       user's registry of names is another user's, or none.
  //   kUnavailable        with `track`: a process that is stopped has been about
  //                       to remove the registry for a second.
  static absl::StatusOr<SharedMemory> Create(int64_t size_bytes,
                                             const Options& options = {});

  // Makes a block that holds `bytes`, at least one, before anybody finds it by
  // its name. Faster than to copy them into a new one, as no page is cleared
  // and then touched.
  static absl::StatusOr<SharedMemory> From(absl::string_view bytes,
                                           const Options& options = {});

  // Finds a block by its name, with the size that it has.
  //
  // Errors:
  //   kInvalidArgument   this cannot be a name, or it is an empty file's.
  //   kNotFound          there is no such block.
  //   kPermissionDenied  it is another user's.
  //   kResourceExhausted no descriptors, no address space; with `track`, no
  //                      room in the registry of names.
  //   and with `track`, those of TakeOwnership(). After an error this process
  //   owns no more than before.
  static absl::StatusOr<SharedMemory> Open(absl::string_view name,
                                           const OpenOptions& options = {});

  // Removes a name; the memory stays with those that have it.
  //
  // Errors:
  //   kInvalidArgument, kNotFound  as Open().
  //   kPermissionDenied  it is another user's.
  //   kUnavailable       a process that is stopped has been about to take the
  //                      name away for a second.
  static absl::Status Unlink(absl::string_view name);

  // Returns the named blocks of this user that have owners, by their names.
  //
  // Errors: kPermissionDenied, kDataLoss  as Create(), with `track`.
  static absl::StatusOr<std::vector<SharedMemoryInfo>> List();

  // A closed handle.
  SharedMemory();

  // Bytes that can be written; none in a closed or read-only handle.
  absl::Span<char> data() const;

  // Bytes to read; none in a closed handle.
  absl::string_view view() const;

  size_t size() const { return view().size(); }
  bool closed() const { return state_ == nullptr; }
  bool read_only() const;

  // Without the slash; empty for an anonymous or closed one.
  const std::string& name() const;

  // Copies `bytes` to `offset`. Faster than memcpy() where no page has been
  // touched yet, and refused where there is no room for them.
  //
  // Errors:
  //   kOutOfRange          they do not fit.
  //   kResourceExhausted   /dev/shm is full.
  //   kFailedPrecondition  the handle is closed or read-only.
  absl::Status CopyFrom(absl::string_view bytes, size_t offset = 0) const;

  // Sets all bytes. Errors: those of CopyFrom().
  absl::Status Fill(char value) const;

  // Takes all pages that the block lacks, so that no write to it runs out of
  // memory. Refuses while there is still some left for others.
  //
  // Errors:
  //   kResourceExhausted   the machine, a cgroup of this process, /dev/shm or
  //                        RLIMIT_FSIZE has not so much.
  //   kFailedPrecondition  the handle is closed or read-only.
  absl::Status Reserve() const;

  // Makes a `resizable` block larger, with zeros. This handle then shows all of
  // it, at another address; others do so after a Refresh().
  //
  // Errors:
  //   kFailedPrecondition  the block is not resizable, the handle is closed or
  //                        read-only.
  //   kInvalidArgument     the size is below that of now, which another may have
  //                        made larger: others would be killed by SIGBUS where
  //                        it had been.
  //   kPermissionDenied    somebody has called ReadOnly() on the anonymous
  //                        block, which cannot be mapped to write since.
  //   kResourceExhausted   as in Create().
  // After an error all is as before.
  absl::Status Resize(int64_t size_bytes);

  // Shows what others have added by Resize().
  //
  // Errors:
  //   kFailedPrecondition  the handle is closed.
  //   kPermissionDenied    as in Resize(), for a handle that can write.
  //   kResourceExhausted   no descriptor, no address space.
  //   kInvalidArgument     somebody has made a named block an empty file.
  absl::Status Refresh();

  // Returns a handle of the same block that cannot be written, wherever it
  // travels. For an anonymous block this is for good: from then on nobody gets
  // it to write, and its writable handles do not travel any more; those that
  // have it already go on writing. A name is a door that is open for all of
  // this user's programs: there it only guards against mistakes.
  //
  // Errors:
  //   kFailedPrecondition  the handle is closed.
  //   kResourceExhausted   no descriptor, no address space.
  // Source: man 2 fcntl, F_SEAL_FUTURE_WRITE.
  absl::StatusOr<SharedMemory> ReadOnly() const;

  // Removes the name, if it is still this block's.
  //
  // Errors:
  //   kNotFound            it has none any more.
  //   kFailedPrecondition  it has never had one, or the handle is closed.
  //   kUnavailable         as the other Unlink().
  absl::Status Unlink() const;

  // Makes this process an owner of a named block, or one no more. The name goes
  // with the last owner; a block whose last owner has given it up stays until
  // Unlink(). So a server can take over the blocks that its clients have made.
  //
  // Errors:
  //   kNotFound, kFailedPrecondition, kUnavailable  as Unlink().
  //   kResourceExhausted  TakeOwnership(): no room in /dev/shm, no descriptor, or
  //                       more owners and names than the registry has room for.
  //   kPermissionDenied, kDataLoss  TakeOwnership(): as Create().
  absl::Status TakeOwnership() const;
  absl::Status GiveUpOwnership() const;

  // Lets go of the block in this handle. May be called again.
  void Close();

 private:
  struct State;
  friend struct Serializer<SharedMemory>;

  explicit SharedMemory(std::shared_ptr<const State> state)
      : state_(std::move(state)) {}

  static absl::StatusOr<SharedMemory> CreateWith(int64_t size_bytes,
                                                 absl::string_view contents,
                                                 const Options& options);

  absl::Status CheckOpen(absl::string_view operation) const;
  absl::Status CheckNamed(absl::string_view operation) const;
  absl::Status CheckWritable(absl::string_view operation) const;
  absl::Status WriteOrCopy(absl::string_view bytes, size_t offset) const;

  std::shared_ptr<const State> state_;
};

// The receiver gets a handle of its own for the same block.
//
// Errors of receiving:
//   kNotFound          a named block has been unlinked.
//   kPermissionDenied  what came can shrink, and is another user's.
template <>
struct Serializer<SharedMemory> {
  static void Encode(const SharedMemory& block, Encoder& encoder);
  static absl::StatusOr<SharedMemory> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_SHAREDMEM_SHARED_MEMORY_H_
