#ifndef MP_SHAREDMEM_INTERNAL_UTF8_H_
#define MP_SHAREDMEM_INTERNAL_UTF8_H_

#include "absl/strings/string_view.h"

namespace mp::internal {

// Whether Python's bytes.decode("utf8") takes it: no overlong forms, no
// surrogates, nothing above U+10FFFF.
//
// Source: RFC 3629, section 4.
bool IsUtf8(absl::string_view text);

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_UTF8_H_
