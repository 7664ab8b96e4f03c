#ifndef MP_POOL_INTERNAL_PACKED_ITEMS_H_
#define MP_POOL_INTERNAL_PACKED_ITEMS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/process/parcel.h"

namespace mp::internal {

// The arguments of many items, each a Parcel that can be read without the
// others: little more than their bytes, one after the other.
//
// Threads: safe from any once it is full.
class PackedItems {
 public:
  void Add(Parcel item);

  uint64_t size() const { return ends_.size(); }
  size_t bytes() const { return bytes_.size(); }

  // How many of a range, from its first on, are together no more than so many
  // bytes of a run; at least one. One that has descriptors goes alone.
  uint64_t Fitting(ItemRange range, size_t bytes) const;

  // The bytes of a range, and the descriptors of one item.
  absl::string_view BytesOf(ItemRange range) const;
  absl::Span<const Fd> HandlesOf(uint64_t item) const;

  // What a run of them is as bytes: those of one item, or the size of each and
  // then all their bytes, written over `into`.
  absl::string_view Pack(ItemRange range, std::string& into) const;

 private:
  uint64_t StartOf(uint64_t item) const {
    return item == 0 ? 0 : ends_[item - 1];
  }

  std::string bytes_;
  std::vector<uint64_t> ends_;  // where the bytes of each end
  std::vector<Fd> handles_;
  std::vector<uint64_t> handle_ends_;  // none as long as there are no handles
};

// Takes apart what Pack() has made.
//
// Example:
//   MP_ASSIGN_OR_RETURN(PackedRun run, PackedRun::Open(std::move(parcel), 3));
//   Decoder second(run.Take(1));
class PackedRun {
 public:
  // Errors:
  //   kDataLoss  these are not so many items.
  static absl::StatusOr<PackedRun> Open(Parcel parcel, uint64_t items);

  // The arguments of an item, once.
  Parcel Take(uint64_t item);

 private:
  PackedRun(Parcel parcel, std::vector<uint64_t> starts)
      : parcel_(std::move(parcel)), starts_(std::move(starts)) {}

  Parcel parcel_;
  std::vector<uint64_t>
      starts_;  // of each item, and the end; none for one item
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_PACKED_ITEMS_H_
