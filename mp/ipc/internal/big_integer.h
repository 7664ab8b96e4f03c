#ifndef MP_IPC_INTERNAL_BIG_INTEGER_H_
#define MP_IPC_INTERNAL_BIG_INTEGER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// Integers of any size as two's complement, the lowest byte first: that is how
// a pickle has them. "Least" means without bytes that only repeat the sign.
namespace mp::internal {

// Drops the bytes that say nothing.
absl::string_view LeastTwosComplement(absl::string_view bytes);

std::string TwosComplementOf(int64_t value);
std::string TwosComplementOf(uint64_t value);

// Of a finite number without a fraction.
std::string TwosComplementOf(double value);

// Returns nothing if the number does not fit.
std::optional<int64_t> ToInt64(absl::string_view least);

// Returns the nearest number, an infinite one if it is too large for all.
double ToDouble(absl::string_view least);

// Returns the number in decimal, or in hexadecimal ("-0x1f") if it would be
// longer than the 4300 digits that CPython prints.
std::string ToText(absl::string_view least);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_BIG_INTEGER_H_
