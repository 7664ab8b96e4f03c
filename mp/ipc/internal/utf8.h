#ifndef MP_IPC_INTERNAL_UTF8_H_
#define MP_IPC_INTERNAL_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace mp::internal {

// A code point and the bytes that it takes; no bytes if there is none.
struct Utf8Letter {
  uint32_t code_point = 0;
  size_t bytes = 0;
};

// Reads the letter that a text begins with. Surrogates are letters too, as a
// str of Python's may have them.
//
// Source: RFC 3629, section 4; Python's error handler "surrogatepass".
Utf8Letter FirstLetter(absl::string_view text);

// Returns where a text stops to be UTF-8 with surrogates, npos if nowhere.
size_t FindBadUtf8(absl::string_view text);

void AppendUtf8(uint32_t code_point, std::string& text);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_UTF8_H_
