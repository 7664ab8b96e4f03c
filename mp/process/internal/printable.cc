#include "mp/process/internal/printable.h"

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

// Returns how many bytes the character at the start of `text` has, or 0 if it
// is none that can be shown. C1 controls and overlong forms are none.
size_t CharacterSize(absl::string_view text) {
  const auto byte = [&](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return first == '\n' || (first >= 0x20 && first < 0x7f);
  if (first >= 0xc2 && first < 0xe0 && follows(1)) {
    return first == 0xc2 && byte(1) < 0xa0 ? 0 : 2;
  }
  if ((first & 0xf0) == 0xe0 && follows(1) && follows(2)) {
    const unsigned high = (first & 0xf) << 12 | (byte(1) & 0x3f) << 6;
    return high < 0x800 || (high >= 0xd800 && high < 0xe000) ? 0 : 3;
  }
  if ((first & 0xf8) == 0xf0 && follows(1) && follows(2) && follows(3)) {
    const unsigned high = (first & 0x7) << 18 | (byte(1) & 0x3f) << 12;
    return high < 0x10000 || high >= 0x110000 ? 0 : 4;
  }
  return 0;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size > 0) {
      printable.append(text.data(), size);
    } else {
      const auto byte = static_cast<unsigned char>(text[0]);
      absl::StrAppend(&printable, "\\x", absl::Hex(byte, absl::kZeroPad2));
    }
    text.remove_prefix(size > 0 ? size : 1);
  }
  return printable;
}

}  // namespace mp::internal
