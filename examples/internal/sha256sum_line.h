#ifndef EXAMPLES_INTERNAL_SHA256SUM_LINE_H_
#define EXAMPLES_INTERNAL_SHA256SUM_LINE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "examples/internal/sha256_file.h"

namespace examples {

// Returns the line that sha256sum prints for a file, with its new line.
//
// A name with a backslash, a new line or a carriage return is written with \\,
// \n and \r in their places, and a backslash in front of the line says so.
// Other bytes are written as they are.
//
// Source: GNU coreutils 9.1, tried with Debian's. Its manual, "md5sum
//         invocation", names the first two only.
std::string Sha256sumLine(const Sha256Digest& digest, absl::string_view name);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_SHA256SUM_LINE_H_
