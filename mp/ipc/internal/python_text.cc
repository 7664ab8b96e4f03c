#include "mp/ipc/internal/python_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/utf8.h"

namespace mp::internal {
namespace {

// From where to where there are no printable letters: controls, spaces, marks
// of direction, surrogates, private use.
struct Range {
  uint32_t first;
  uint32_t last;
};
constexpr Range kNotPrintable[] = {
    {0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},
    {0x600, 0x605},     {0x61c, 0x61c},     {0x6dd, 0x6dd},
    {0x70f, 0x70f},     {0x1680, 0x1680},   {0x180e, 0x180e},
    {0x2000, 0x200f},   {0x2028, 0x202f},   {0x205f, 0x206f},
    {0x3000, 0x3000},   {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},
    {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},
    {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff}};

bool IsPrintable(uint32_t letter) {
  if (letter >= 0x20 && letter < 0x7f) return true;
  return std::none_of(std::begin(kNotPrintable), std::end(kNotPrintable),
                      [letter](const Range& range) {
                        return letter >= range.first && letter <= range.last;
                      });
}

char QuoteFor(absl::string_view text) {
  const bool single = text.find('\'') != text.npos;
  return single && text.find('"') == text.npos ? '"' : '\'';
}

// Appends a letter below 0x80, or as "\x80".
void AppendByte(uint8_t byte, char quote, std::string& repr) {
  if (byte == quote || byte == '\\') {
    repr.push_back('\\');
    repr.push_back(static_cast<char>(byte));
  } else if (byte == '\n') {
    repr += "\\n";
  } else if (byte == '\r') {
    repr += "\\r";
  } else if (byte == '\t') {
    repr += "\\t";
  } else if (byte >= 0x20 && byte < 0x7f) {
    repr.push_back(static_cast<char>(byte));
  } else {
    absl::StrAppendFormat(&repr, "\\x%02x", byte);
  }
}

void AppendLetter(const Utf8Letter& letter, absl::string_view bytes,
                  std::string& repr) {
  if (IsPrintable(letter.code_point)) {
    absl::StrAppend(&repr, bytes.substr(0, letter.bytes));
  } else if (letter.code_point <= 0xff) {
    absl::StrAppendFormat(&repr, "\\x%02x", letter.code_point);
  } else if (letter.code_point <= 0xffff) {
    absl::StrAppendFormat(&repr, "\\u%04x", letter.code_point);
  } else {
    absl::StrAppendFormat(&repr, "\\U%08x", letter.code_point);
  }
}

}  // namespace

std::string ReprOfFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The fewest digits that give the same number: "-d.ddde-07".
  std::array<char, 40> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(),
                    std::fabs(value), std::chars_format::scientific)
          .ptr;
  const absl::string_view text(buffer.data(), end - buffer.data());
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, 1));
  if (e > 1) absl::StrAppend(&digits, text.substr(2, e - 2));

  std::string repr = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    absl::StrAppend(&repr, digits.substr(0, 1), digits.size() > 1 ? "." : "",
                    digits.substr(1));
    absl::StrAppendFormat(&repr, "e%c%02d", exponent < 0 ? '-' : '+',
                          std::abs(exponent));
  } else if (exponent < 0) {
    absl::StrAppend(&repr, "0.", std::string(-exponent - 1, '0'), digits);
  } else {
    const size_t whole = exponent + 1;
    if (digits.size() < whole + 1) digits.resize(whole + 1, '0');
    absl::StrAppend(&repr, digits.substr(0, whole), ".", digits.substr(whole));
  }
  return repr;
}

std::string ReprOfStr(absl::string_view text) {
  const char quote = QuoteFor(text);
  std::string repr(1, quote);
  while (!text.empty()) {
    const Utf8Letter letter = FirstLetter(text);
    if (letter.bytes <= 1) {
      AppendByte(static_cast<uint8_t>(text[0]), quote, repr);
      text.remove_prefix(1);
    } else {
      AppendLetter(letter, text, repr);
      text.remove_prefix(letter.bytes);
    }
  }
  repr.push_back(quote);
  return repr;
}

std::string ReprOfBytes(absl::string_view bytes) {
  const char quote = QuoteFor(bytes);
  std::string repr = absl::StrCat("b", absl::string_view(&quote, 1));
  for (const char byte : bytes) {
    AppendByte(static_cast<uint8_t>(byte), quote, repr);
  }
  repr.push_back(quote);
  return repr;
}

}  // namespace mp::internal
