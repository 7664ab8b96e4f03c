#include "mp/pool/internal/run.h"

#include <algorithm>
#include <cstdint>

#include "mp/pool/internal/item_ranges.h"

namespace mp::internal {

bool Run::IsDone(uint64_t item) const {
  return item < items_.first || item >= items_.end ||
         (!done_early_.empty() && done_early_.contains(item));
}

void Run::MarkDone(uint64_t item) {
  if (item != items_.first) {
    done_early_.insert(item);
    return;
  }
  ++items_.first;
  while (!done_early_.empty() && done_early_.erase(items_.first) > 0) {
    ++items_.first;
  }
}

bool Run::MarkNextDone(uint64_t first, uint64_t count) {
  if (first != items_.first || count > items_.size() || !done_early_.empty()) {
    return false;
  }
  items_.first += count;
  return true;
}

ItemRange Run::TakeLast(uint64_t count) {
  const uint64_t first =
      done_early_.empty() ? items_.first : *done_early_.rbegin() + 1;
  const ItemRange last = {items_.end - std::min(count, items_.end - first),
                          items_.end};
  items_.end = last.first;
  return last;
}

ItemRanges Run::Left() const {
  ItemRanges left;
  uint64_t first = items_.first;
  for (const uint64_t item : done_early_) {
    left.Add({first, item});
    first = item + 1;
  }
  left.Add({first, items_.end});
  return left;
}

}  // namespace mp::internal
