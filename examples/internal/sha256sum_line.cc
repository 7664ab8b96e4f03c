#include "examples/internal/sha256sum_line.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "examples/internal/sha256_file.h"

namespace examples {

std::string Sha256sumLine(const Sha256Digest& digest, absl::string_view name) {
  const absl::string_view bytes(reinterpret_cast<const char*>(digest.data()),
                                digest.size());
  const std::string escaped =
      absl::StrReplaceAll(name, {{"\\", "\\\\"}, {"\n", "\\n"}, {"\r", "\\r"}});
  return absl::StrCat(escaped.size() == name.size() ? "" : "\\",
                      absl::BytesToHexString(bytes), "  ", escaped, "\n");
}

}  // namespace examples
