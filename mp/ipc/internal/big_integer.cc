#include "mp/ipc/internal/big_integer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace mp::internal {
namespace {

// About 4300 digits.
constexpr size_t kMaxDecimalBytes = 1785;

bool IsNegative(absl::string_view bytes) {
  return !bytes.empty() && (bytes.back() & 0x80) != 0;
}

template <typename T>
std::string LittleEndian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
  return bytes;
}

void Negate(std::string& bytes) {
  bool carry = true;
  for (char& byte : bytes) {
    byte = static_cast<char>(~byte + (carry ? 1 : 0));
    carry = carry && byte == 0;
  }
}

// The absolute value, with room for its sign.
std::string Magnitude(absl::string_view bytes) {
  std::string magnitude(bytes);
  if (IsNegative(bytes)) {
    magnitude.push_back('\xff');
    Negate(magnitude);
  }
  return magnitude;
}

// Divides the number, 32 bits each, lowest first, and returns the remainder.
uint32_t DivideBy(std::vector<uint32_t>& limbs, uint32_t divisor) {
  uint64_t remainder = 0;
  for (size_t i = limbs.size(); i-- > 0;) {
    const uint64_t part = remainder << 32 | limbs[i];
    limbs[i] = static_cast<uint32_t>(part / divisor);
    remainder = part % divisor;
  }
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
  return static_cast<uint32_t>(remainder);
}

std::string Decimal(absl::string_view magnitude) {
  std::vector<uint32_t> limbs((magnitude.size() + 3) / 4);
  for (size_t i = 0; i < magnitude.size(); ++i) {
    limbs[i / 4] |= uint32_t{static_cast<uint8_t>(magnitude[i])} << (i % 4 * 8);
  }
  std::vector<uint32_t> groups;  // Of nine digits, the lowest first.
  do {
    groups.push_back(DivideBy(limbs, 1'000'000'000));
  } while (!limbs.empty());
  std::string text = absl::StrCat(groups.back());
  for (size_t i = groups.size() - 1; i-- > 0;) {
    absl::StrAppendFormat(&text, "%09d", groups[i]);
  }
  return text;
}

std::string Hexadecimal(absl::string_view magnitude) {
  std::string text;
  for (size_t i = magnitude.size(); i-- > 0;) {
    absl::StrAppendFormat(&text, "%02x", static_cast<uint8_t>(magnitude[i]));
  }
  const size_t zeros = text.find_first_not_of('0');
  return absl::StrCat("0x", zeros == text.npos ? "0" : text.substr(zeros));
}

}  // namespace

absl::string_view LeastTwosComplement(absl::string_view bytes) {
  const char sign = IsNegative(bytes) ? '\xff' : '\0';
  while (!bytes.empty() && bytes.back() == sign) {
    const absl::string_view less = bytes.substr(0, bytes.size() - 1);
    if (IsNegative(less) != (sign != 0)) break;
    bytes = less;
  }
  return bytes;
}

std::string TwosComplementOf(int64_t value) {
  return std::string(LeastTwosComplement(LittleEndian(value)));
}

std::string TwosComplementOf(uint64_t value) {
  return std::string(LeastTwosComplement(LittleEndian(value) + '\0'));
}

std::string TwosComplementOf(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);
  // |value| == mantissa * 2^shift.
  auto mantissa = static_cast<uint64_t>(std::ldexp(fraction, 53));
  int shift = exponent - 53;
  for (; shift < 0; ++shift) mantissa >>= 1;
  std::string bytes(shift / 8, '\0');
  // 53 bits and 7 are less than 64.
  bytes += LittleEndian(mantissa << (shift % 8));
  bytes.push_back('\0');
  if (value < 0) Negate(bytes);
  return std::string(LeastTwosComplement(bytes));
}

std::optional<int64_t> ToInt64(absl::string_view least) {
  if (least.size() > sizeof(int64_t)) return std::nullopt;
  uint64_t value = IsNegative(least) ? ~uint64_t{0} : 0;
  for (size_t i = 0; i < least.size(); ++i) {
    value &= ~(uint64_t{0xff} << (8 * i));
    value |= uint64_t{static_cast<uint8_t>(least[i])} << (8 * i);
  }
  return static_cast<int64_t>(value);
}

double ToDouble(absl::string_view least) {
  const std::string magnitude = Magnitude(least);
  size_t end = magnitude.size();
  while (end > 0 && magnitude[end - 1] == 0) --end;
  // Eight bytes decide, and whether anything follows them: more than 64 bits
  // with the last one set if so are rounded as the whole would be.
  const size_t start = end > 8 ? end - 8 : 0;
  uint64_t top = 0;
  for (size_t i = end; i-- > start;) {
    top = top << 8 | static_cast<uint8_t>(magnitude[i]);
  }
  const bool more = std::any_of(magnitude.begin(), magnitude.begin() + start,
                                [](char byte) { return byte != 0; });
  if (more) top |= 1;
  const auto exponent = static_cast<int>(std::min<size_t>(start * 8, 1 << 20));
  const double value = std::ldexp(static_cast<double>(top), exponent);
  return IsNegative(least) ? -value : value;
}

std::string ToText(absl::string_view least) {
  const std::string magnitude = Magnitude(least);
  return absl::StrCat(IsNegative(least) ? "-" : "",
                      magnitude.size() > kMaxDecimalBytes
                          ? Hexadecimal(magnitude)
                          : Decimal(magnitude));
}

}  // namespace mp::internal
