#ifndef MP_SHAREDMEM_SHAREABLE_LIST_H_
#define MP_SHAREDMEM_SHAREABLE_LIST_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/process/serializer.h"
#include "mp/sharedmem/internal/shareable_layout.h"
#include "mp/sharedmem/shareable_item.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp {

// A list of a fixed length in shared memory, which Python reads and writes too.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto list, mp::ShareableList::Create(
//       {1, 2.5, true, "abc"}, {.name = "settings"}));
//   MP_RETURN_IF_ERROR(list.Set(3, "xyz"));
//   MP_ASSIGN_OR_RETURN(mp::ShareableItem item, list.At(-1));
//   // In Python: ShareableList(name="settings")[3] == "xyz"
//
// CPython's ShareableList cannot be told not to track its block: one that has
// ended removes the name, unless it has called resource_tracker.unregister().
//
// The place of a str or bytes is a multiple of 8 bytes, and at least one more
// than its first value has: longer values do not fit. Any item takes any other
// type.
//
// Shape:   docs/shareable_list_format.md, byte for byte CPython's, but for str
//          and bytes that end in NULs: they are kept here, where CPython drops
//          them as padding, as it still does when it reads them.
// Units:   lengths of texts in bytes of UTF-8, where CPython sometimes counts
//          characters and cuts text off.
// Owns:    a handle of the block.
// Threads: not guarded: share a lock beside it. One who reads what another is
//          writing may get a mixture, or kDataLoss, but does not crash.
// Fork:    travels to any process, as its block does.
// Death:   a process killed in Set() may leave that one item mixed or damaged.
// Source:  CPython multiprocessing.shared_memory.ShareableList. Differs: its
//          block is anonymous unless it is given a name.
class ShareableList {
 public:
  using Options = SharedMemoryOptions;
  using OpenOptions = OpenSharedMemoryOptions;

  // Errors:
  //   kInvalidArgument  an item is no UTF-8, or longer than 9,999,991 bytes, or
  //                     its NULs at the end are too many for the format's 8
  //                     bytes to tell.
  //   those of SharedMemory::Create()
  static absl::StatusOr<ShareableList> Create(
      absl::Span<const ShareableItem> items, const Options& options = {});

  // A second handle, by the block's name or by the block itself.
  //
  // Errors:
  //   kDataLoss            the block holds no list. Zeros are none, but for 16
  //                        bytes of them, the empty one.
  //   kFailedPrecondition  FromBlock(): the handle is closed.
  //   those of SharedMemory::Open()
  static absl::StatusOr<ShareableList> Open(absl::string_view name,
                                            const OpenOptions& options = {});
  static absl::StatusOr<ShareableList> FromBlock(SharedMemory block);

  int64_t size() const { return layout_.size(); }

  // These take Python's indices, -1 being the last item.
  //
  // Errors:
  //   kOutOfRange          there is no such item.
  //   kInvalidArgument     Set(): a value longer than the item's place, or one
  //                        that Create() refuses.
  //   kFailedPrecondition  Set(): the block is read-only.
  //   kDataLoss            the item is damaged.
  absl::StatusOr<ShareableItem> At(int64_t index) const;
  absl::Status Set(int64_t index, const ShareableItem& value) const;

  // Returns all items.
  absl::StatusOr<std::vector<ShareableItem>> Items() const;

  // How often a value is in the list, and where first, as Python compares.
  //
  // Errors:
  //   kNotFound  Index(): nowhere.
  absl::StatusOr<int64_t> Count(const ShareableItem& value) const;
  absl::StatusOr<int64_t> Index(const ShareableItem& value) const;

  // The items' types, for Python's struct module: "q8sxxxxxxx?".
  absl::StatusOr<std::string> Format() const;

  // Makes a list with the same items in a block of its own.
  absl::StatusOr<ShareableList> Duplicate(const Options& options = {}) const;

  const SharedMemory& shm() const { return block_; }

 private:
  ShareableList(SharedMemory block, internal::ShareableLayout layout)
      : block_(std::move(block)), layout_(layout) {}

  SharedMemory block_;
  internal::ShareableLayout layout_;  // shows what block_ keeps mapped
};

// The receiver gets a handle of its own.
template <>
struct Serializer<ShareableList> {
  static void Encode(const ShareableList& list, Encoder& encoder) {
    encoder.Write(list.shm());
  }
  static absl::StatusOr<ShareableList> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_SHAREDMEM_SHAREABLE_LIST_H_
