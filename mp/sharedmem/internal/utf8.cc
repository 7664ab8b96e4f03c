#include "mp/sharedmem/internal/utf8.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

bool IsBetween(unsigned char byte, int low, int high) {
  return byte >= low && byte <= high;
}

// Returns the length of the character that `text` begins with, or 0.
size_t FirstCharacter(absl::string_view text) {
  const auto at = [text](size_t i) -> unsigned char {
    return i < text.size() ? text[i] : 0;
  };
  const auto tail = [&](size_t i) { return IsBetween(at(i), 0x80, 0xBF); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  if (IsBetween(first, 0xC2, 0xDF)) return tail(1) ? 2 : 0;
  if (IsBetween(first, 0xE0, 0xEF)) {
    const bool second = IsBetween(at(1), first == 0xE0 ? 0xA0 : 0x80,
                                  first == 0xED ? 0x9F : 0xBF);
    return second && tail(2) ? 3 : 0;
  }
  if (!IsBetween(first, 0xF0, 0xF4)) return 0;
  const bool second = IsBetween(at(1), first == 0xF0 ? 0x90 : 0x80,
                                first == 0xF4 ? 0x8F : 0xBF);
  return second && tail(2) && tail(3) ? 4 : 0;
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = FirstCharacter(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace mp::internal
