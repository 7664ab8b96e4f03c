#ifndef MP_IPC_INTERNAL_PYTHON_TEXT_H_
#define MP_IPC_INTERNAL_PYTHON_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

// How Python's repr() shows scalars.
namespace mp::internal {

// "1.0", "1e+16", "nan".
std::string ReprOfFloat(double value);

// "'it'", "\"it's\"", "'\\n'". Bytes that are no UTF-8 are shown as "\\xff".
// Letters are escaped that were no printable ones when Unicode reserved their
// ranges; of others all are taken to be printable.
std::string ReprOfStr(absl::string_view text);

// "b'\\x00'".
std::string ReprOfBytes(absl::string_view bytes);

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_PYTHON_TEXT_H_
