#include "mp/pool/internal/item_ranges.h"

#include <algorithm>
#include <cstdint>

namespace mp::internal {

void ItemRanges::Add(ItemRange range) {
  if (range.empty()) return;
  auto next = std::find_if(
      ranges_.begin(), ranges_.end(),
      [&](const ItemRange& other) { return other.first >= range.end; });
  if (next != ranges_.end() && next->first == range.end) {
    range.end = next->end;
    next = ranges_.erase(next);
  }
  if (next != ranges_.begin() && (next - 1)->end == range.first) {
    (next - 1)->end = range.end;
  } else {
    ranges_.insert(next, range);
  }
}

ItemRange ItemRanges::TakeFirst(uint64_t most) {
  ItemRange& first = ranges_.front();
  const ItemRange taken = {first.first,
                           std::min(first.end, first.first + most)};
  first.first = taken.end;
  if (first.empty()) ranges_.erase(ranges_.begin());
  return taken;
}

uint64_t ItemRanges::size() const {
  uint64_t size = 0;
  for (const ItemRange& range : ranges_) size += range.size();
  return size;
}

}  // namespace mp::internal
