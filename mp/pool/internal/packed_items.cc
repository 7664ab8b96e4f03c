#include "mp/pool/internal/packed_items.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

using ItemSize = uint32_t;

}  // namespace

void PackedItems::Add(Parcel item) {
  if (bytes_.empty()) {
    bytes_ = std::move(item.bytes);
  } else {
    bytes_.append(item.bytes);
  }
  if (!item.handles.empty() || !handle_ends_.empty()) {
    handle_ends_.resize(ends_.size(), 0);
    std::move(item.handles.begin(), item.handles.end(),
              std::back_inserter(handles_));
    handle_ends_.push_back(handles_.size());
  }
  ends_.push_back(bytes_.size());
}

uint64_t PackedItems::Fitting(ItemRange range, size_t bytes) const {
  uint64_t end = range.first + 1;
  if (!HandlesOf(range.first).empty()) return 1;
  while (end < range.end && HandlesOf(end).empty() &&
         BytesOf({range.first, end + 1}).size() +
                 (end + 1 - range.first) * sizeof(ItemSize) <=
             bytes) {
    ++end;
  }
  return end - range.first;
}

absl::string_view PackedItems::BytesOf(ItemRange range) const {
  const uint64_t start = StartOf(range.first);
  return absl::string_view(bytes_).substr(start, StartOf(range.end) - start);
}

absl::Span<const Fd> PackedItems::HandlesOf(uint64_t item) const {
  if (item >= handle_ends_.size()) return {};
  const uint64_t start = item == 0 ? 0 : handle_ends_[item - 1];
  return absl::MakeConstSpan(handles_).subspan(start,
                                               handle_ends_[item] - start);
}

absl::string_view PackedItems::Pack(ItemRange range, std::string& into) const {
  const absl::string_view bytes = BytesOf(range);
  if (range.size() == 1) return bytes;
  into.resize(range.size() * sizeof(ItemSize));
  for (uint64_t item = range.first; item < range.end; ++item) {
    const auto size = static_cast<ItemSize>(ends_[item] - StartOf(item));
    std::memcpy(&into[(item - range.first) * sizeof(size)], &size,
                sizeof(size));
  }
  absl::StrAppend(&into, bytes);
  return into;
}

absl::StatusOr<PackedRun> PackedRun::Open(Parcel parcel, uint64_t items) {
  if (items == 1) return PackedRun(std::move(parcel), {});
  const absl::string_view bytes = parcel.bytes;
  std::vector<uint64_t> starts;
  bool fits = items > 0 && items <= bytes.size() / sizeof(ItemSize);
  if (fits) {
    starts.reserve(items + 1);
    starts.push_back(items * sizeof(ItemSize));
    for (uint64_t item = 0; item < items; ++item) {
      ItemSize size;
      std::memcpy(&size, &bytes[item * sizeof(size)], sizeof(size));
      starts.push_back(starts.back() + size);
    }
    fits = starts.back() == bytes.size();
  }
  if (fits) return PackedRun(std::move(parcel), std::move(starts));
  return absl::DataLossError(
      absl::StrCat("a run of ", items, " items in ", bytes.size(), " bytes"));
}

Parcel PackedRun::Take(uint64_t item) {
  if (starts_.empty()) return std::move(parcel_);
  return {
      parcel_.bytes.substr(starts_[item], starts_[item + 1] - starts_[item]),
      {}};
}

}  // namespace mp::internal
