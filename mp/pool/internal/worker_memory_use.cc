#include "mp/pool/internal/worker_memory_use.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"

namespace mp::internal {

std::optional<int64_t> ResidentBytes(pid_t pid) {
  const Fd file(open(absl::StrCat("/proc/", pid, "/statm").c_str(),
                     O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return std::nullopt;
  const absl::StatusOr<std::string> text = ReadToEnd(file.get());
  if (!text.ok()) return std::nullopt;
  const std::vector<absl::string_view> fields = absl::StrSplit(*text, ' ');
  int64_t pages;
  if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &pages)) {
    return std::nullopt;
  }
  return pages * sysconf(_SC_PAGESIZE);
}

}  // namespace mp::internal
