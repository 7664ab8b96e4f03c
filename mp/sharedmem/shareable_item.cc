#include "mp/sharedmem/shareable_item.h"

#include <cstdint>
#include <optional>
#include <variant>

namespace mp {
namespace {

std::optional<int64_t> AsInteger(const ShareableItem& item) {
  if (const int64_t* const number = std::get_if<int64_t>(&item)) return *number;
  if (const bool* const truth = std::get_if<bool>(&item)) return *truth;
  return std::nullopt;
}

// Exactly, though a double cannot hold every integer.
bool AreEqual(double real, int64_t integer) {
  constexpr double kEnd = 9223372036854775808.0;  // 2^63
  return real >= -kEnd && real < kEnd &&
         static_cast<double>(static_cast<int64_t>(real)) == real &&
         static_cast<int64_t>(real) == integer;
}

}  // namespace

bool PythonEqual(const ShareableItem& a, const ShareableItem& b) {
  const std::optional<int64_t> left = AsInteger(a);
  const std::optional<int64_t> right = AsInteger(b);
  if (left.has_value() && right.has_value()) return *left == *right;
  const double* const real_left = std::get_if<double>(&a);
  const double* const real_right = std::get_if<double>(&b);
  if (real_left != nullptr && right) return AreEqual(*real_left, *right);
  if (real_right != nullptr && left) return AreEqual(*real_right, *left);
  return a == b;
}

}  // namespace mp
