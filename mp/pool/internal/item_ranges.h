#ifndef MP_POOL_INTERNAL_ITEM_RANGES_H_
#define MP_POOL_INTERNAL_ITEM_RANGES_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace mp::internal {

// Some items of a task: `first` to `end` - 1.
struct ItemRange {
  uint64_t first = 0;
  uint64_t end = 0;

  uint64_t size() const { return end - first; }
  bool empty() const { return first == end; }

  friend bool operator==(ItemRange a, ItemRange b) {
    return a.first == b.first && a.end == b.end;
  }
};

// Items of a task in their order, of which there are long ranges.
//
// Threads: for one at a time.
class ItemRanges {
 public:
  // Those of a range, of which none is here yet. Nothing if it is empty.
  void Add(ItemRange range);

  // Takes the first ones: so many at most, and all of one range. There are some.
  ItemRange TakeFirst(uint64_t most);

  bool empty() const { return ranges_.empty(); }
  uint64_t size() const;

  // In their order; none of them touch.
  absl::Span<const ItemRange> ranges() const { return ranges_; }

 private:
  absl::InlinedVector<ItemRange, 2> ranges_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_ITEM_RANGES_H_
