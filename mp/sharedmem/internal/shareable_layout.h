#ifndef MP_SHAREDMEM_INTERNAL_SHAREABLE_LAYOUT_H_
#define MP_SHAREDMEM_INTERNAL_SHAREABLE_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/sharedmem/shareable_item.h"

namespace mp::internal {

// The bytes of a list as CPython's ShareableList lays them out;
// docs/shareable_list_format.md.
//
// The bytes may come from anyone, and may change at any time: what is not well
// formed is kDataLoss, never a crash.
//
// Owns:    nothing; the memory must outlive it.
// Threads: like the memory itself: not guarded.
class ShareableLayout {
 public:
  // How many bytes `items` take.
  //
  // Errors:
  //   kInvalidArgument  a str is not UTF-8, or an item is too long.
  static absl::StatusOr<int64_t> SizeOf(absl::Span<const ShareableItem> items);

  // Writes `items` to zeroed memory of that size, aligned for an int64_t.
  //
  // Errors:
  //   kInvalidArgument  the NULs at the end of a long str or bytes cannot be
  //                     kept.
  static absl::Status Write(absl::Span<const ShareableItem> items,
                            absl::Span<char> memory);

  // Looks at a list that is there. The memory is aligned for an int64_t. With
  // an empty `writable` part, Set() must not be called.
  static absl::StatusOr<ShareableLayout> Parse(absl::string_view memory,
                                               absl::Span<char> writable);

  ShareableLayout() = default;

  int64_t size() const { return size_; }

  // These take Python's indices: -1 is the last item.
  //
  // Errors:
  //   kOutOfRange       there is no such item.
  //   kInvalidArgument  Set(): the value does not fit into the item's place, is
  //                     no UTF-8, or its last NULs cannot be kept.
  //   kDataLoss         the bytes are no item.
  absl::StatusOr<ShareableItem> At(int64_t index) const;
  absl::Status Set(int64_t index, const ShareableItem& value) const;
  absl::StatusOr<std::string> Format(int64_t index) const;

 private:
  // Where an item lies in the data.
  struct Place {
    int64_t index;
    size_t offset;
    size_t size;
  };

  absl::StatusOr<Place> Find(int64_t index) const;
  absl::StatusOr<Place> PlaceOf(int64_t index) const;
  absl::StatusOr<ShareableItem> ReadText(const Place& place,
                                         absl::string_view format,
                                         int code) const;
  absl::Status WriteItem(const Place& place, const ShareableItem& value,
                         absl::string_view old_format) const;
  std::string FormatAt(int64_t index) const;
  size_t formats() const { return data_ + data_size_; }
  size_t codes() const { return formats() + 8 * size_; }

  absl::string_view memory_;
  char* writable_ = nullptr;
  int64_t size_ = 0;
  size_t data_ = 0;       // where the data area begins
  size_t data_size_ = 0;  // in bytes
};

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_SHAREABLE_LAYOUT_H_
