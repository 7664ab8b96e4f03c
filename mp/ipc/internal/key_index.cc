#include "mp/ipc/internal/key_index.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"

namespace mp::internal {

std::optional<size_t> KeyIndex::Find(
    uint64_t hash, absl::FunctionRef<bool(size_t)> is_equal) const {
  if (slots_.empty()) return std::nullopt;
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const size_t position = slots_[slot] - 1;
    if (is_equal(position)) return position;
  }
  return std::nullopt;
}

void KeyIndex::Add(uint64_t hash, absl::FunctionRef<uint64_t(size_t)> hash_at) {
  if ((size_t{size_} + 1) * 3 > slots_.size() * 2) Grow(hash_at);
  Place(hash, size_++);
}

void KeyIndex::Place(uint64_t hash, uint32_t position) {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  while (slots_[slot] != 0) slot = (slot + 1) & mask;
  slots_[slot] = position + 1;
}

void KeyIndex::Grow(absl::FunctionRef<uint64_t(size_t)> hash_at) {
  const size_t size = std::max<size_t>(8, slots_.size() * 2);
  slots_.assign(size, 0);
  for (uint32_t i = 0; i < size_; ++i) Place(hash_at(i), i);
}

}  // namespace mp::internal
