#include "mp/sharedmem/shareable_list.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/status_macros.h"

namespace mp {

using internal::ShareableLayout;

absl::StatusOr<ShareableList> ShareableList::Create(
    absl::Span<const ShareableItem> items, const Options& options) {
  MP_ASSIGN_OR_RETURN(const int64_t size, ShareableLayout::SizeOf(items));
  // Built here first, so that nobody finds a block by its name and half a list.
  std::vector<int64_t> words(size / 8 + 1);
  const absl::Span<char> image(reinterpret_cast<char*>(words.data()), size);
  MP_RETURN_IF_ERROR(ShareableLayout::Write(items, image));
  MP_ASSIGN_OR_RETURN(
      SharedMemory block,
      SharedMemory::From(absl::string_view(image.data(), size), options));
  return FromBlock(std::move(block));
}

absl::StatusOr<ShareableList> ShareableList::Open(absl::string_view name,
                                                  const OpenOptions& options) {
  MP_ASSIGN_OR_RETURN(SharedMemory block, SharedMemory::Open(name, options));
  return FromBlock(std::move(block));
}

absl::StatusOr<ShareableList> ShareableList::FromBlock(SharedMemory block) {
  if (block.closed()) {
    return absl::FailedPreconditionError(
        "ShareableList::FromBlock: the block's handle is closed");
  }
  MP_ASSIGN_OR_RETURN(const ShareableLayout layout,
                      ShareableLayout::Parse(block.view(), block.data()));
  return ShareableList(std::move(block), layout);
}

absl::StatusOr<ShareableItem> ShareableList::At(int64_t index) const {
  return layout_.At(index);
}

absl::Status ShareableList::Set(int64_t index,
                                const ShareableItem& value) const {
  if (block_.read_only()) {
    return absl::FailedPreconditionError(
        "ShareableList::Set: the block's handle is read-only");
  }
  return layout_.Set(index, value);
}

absl::StatusOr<std::vector<ShareableItem>> ShareableList::Items() const {
  std::vector<ShareableItem> items;
  items.reserve(size());
  for (int64_t i = 0; i < size(); ++i) {
    MP_ASSIGN_OR_RETURN(ShareableItem item, At(i));
    items.push_back(std::move(item));
  }
  return items;
}

absl::StatusOr<int64_t> ShareableList::Count(const ShareableItem& value) const {
  int64_t count = 0;
  for (int64_t i = 0; i < size(); ++i) {
    MP_ASSIGN_OR_RETURN(const ShareableItem item, At(i));
    if (PythonEqual(item, value)) ++count;
  }
  return count;
}

absl::StatusOr<int64_t> ShareableList::Index(const ShareableItem& value) const {
  for (int64_t i = 0; i < size(); ++i) {
    MP_ASSIGN_OR_RETURN(const ShareableItem item, At(i));
    if (PythonEqual(item, value)) return i;
  }
  return absl::NotFoundError(absl::StrCat(
      "ShareableList::Index: the value is not among the ", size(), " items"));
}

absl::StatusOr<std::string> ShareableList::Format() const {
  std::string format;
  for (int64_t i = 0; i < size(); ++i) {
    MP_ASSIGN_OR_RETURN(const std::string part, layout_.Format(i));
    format += part;
  }
  return format;
}

absl::StatusOr<ShareableList> ShareableList::Duplicate(
    const Options& options) const {
  MP_ASSIGN_OR_RETURN(const std::vector<ShareableItem> items, Items());
  return Create(items, options);
}

absl::StatusOr<ShareableList> Serializer<ShareableList>::Decode(
    Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(SharedMemory block, decoder.Read<SharedMemory>());
  return ShareableList::FromBlock(std::move(block));
}

}  // namespace mp
