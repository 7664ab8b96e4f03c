#ifndef EXAMPLES_INTERNAL_FILE_LIST_H_
#define EXAMPLES_INTERNAL_FILE_LIST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace examples {

struct ListedFile {
  std::string name;
  // When it was listed: a hint only.
  uint64_t size_bytes = 0;
};

// What could not be looked at, and why: "Permission denied".
struct ListFailure {
  std::string name;
  std::string problem;
};

struct FileList {
  std::vector<ListedFile> files;
  std::vector<ListFailure> failures;
};

// Lists the regular files in and below some folders, as
//   find ROOTS -type f -print0 | LC_ALL=C sort -z
// does: symbolic links are not followed, also not a root that is one (but
// "link/" is the folder behind it); names begin with the root as it was given;
// a file that is reached twice is listed twice. A root may be a regular file.
//
// A file that nobody can open by its name because that is longer than PATH_MAX
// is a failure.
//
// Shape: both parts sorted by the bytes of the names.
FileList ListFiles(absl::Span<const std::string> roots);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_FILE_LIST_H_
