#ifndef MP_IPC_INTERNAL_KEY_INDEX_H_
#define MP_IPC_INTERNAL_KEY_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"

namespace mp::internal {

// Finds keys that lie in a vector, by their hashes: the order of the vector is
// that of insertion, and the index may be small.
//
// Shape:   positions below 2^32 - 1.
// Threads: one at a time, if it changes.
// Source:  CPython Objects/dictobject.c, "compact dict".
class KeyIndex {
 public:
  // Returns the first position with this hash that `is_equal` accepts.
  std::optional<size_t> Find(uint64_t hash,
                             absl::FunctionRef<bool(size_t)> is_equal) const;

  // Adds the next position. `hash_at` tells the hashes of those before.
  void Add(uint64_t hash, absl::FunctionRef<uint64_t(size_t)> hash_at);

 private:
  void Place(uint64_t hash, uint32_t position);
  void Grow(absl::FunctionRef<uint64_t(size_t)> hash_at);

  // Each a position plus 1, or 0 where nothing is. Empty, or a power of two of
  // which at least a third is free.
  std::vector<uint32_t> slots_;
  uint32_t size_ = 0;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_KEY_INDEX_H_
