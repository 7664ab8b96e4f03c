#ifndef MP_PROCESS_INTERNAL_PRINTABLE_H_
#define MP_PROCESS_INTERNAL_PRINTABLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace mp::internal {

// Returns the text with all that a terminal might obey, and all that is not
// UTF-8, written as \xNN. New lines stay.
std::string Printable(absl::string_view text);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_PRINTABLE_H_
