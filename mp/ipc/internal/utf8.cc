#include "mp/ipc/internal/utf8.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

// The least code point that needs so many bytes.
constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
constexpr uint32_t kEnd = 0x110000;

size_t LengthByFirstByte(uint8_t byte) {
  if (byte < 0x80) return 1;
  if (byte < 0xc0) return 0;
  if (byte < 0xe0) return 2;
  if (byte < 0xf0) return 3;
  return byte < 0xf8 ? 4 : 0;
}

}  // namespace

Utf8Letter FirstLetter(absl::string_view text) {
  if (text.empty()) return {};
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t length = LengthByFirstByte(first);
  if (length == 1) return {first, 1};
  if (length == 0 || length > text.size()) return {};
  uint32_t code_point = first & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if ((byte & 0xc0) != 0x80) return {};
    code_point = code_point << 6 | (byte & 0x3f);
  }
  if (code_point < kLeast[length] || code_point >= kEnd) return {};
  return {code_point, length};
}

size_t FindBadUtf8(absl::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    if (static_cast<uint8_t>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const Utf8Letter letter = FirstLetter(text.substr(position));
    if (letter.bytes == 0) return position;
    position += letter.bytes;
  }
  return absl::string_view::npos;
}

void AppendUtf8(uint32_t code_point, std::string& text) {
  const auto continuation = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3f)));
  };
  if (code_point < 0x80) {
    text.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text.push_back(static_cast<char>(0xc0 | code_point >> 6));
    continuation(0);
  } else if (code_point < 0x10000) {
    text.push_back(static_cast<char>(0xe0 | code_point >> 12));
    continuation(6);
    continuation(0);
  } else {
    text.push_back(static_cast<char>(0xf0 | code_point >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

}  // namespace mp::internal
