#include "mp/process/cpu_count.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"

namespace mp {
namespace {

// Returns the text of a file, empty if it cannot be read.
std::string ReadFile(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return "";
  return ReadToEnd(file.get()).value_or("");
}

// Returns the path of this process's group, "/" or "/a/b", out of "0::/a/b\n"
// among lines of the older version. "/" if it is not below what is mounted.
std::string FindGroup(absl::string_view membership) {
  for (absl::string_view line : absl::StrSplit(membership, '\n')) {
    if (!absl::ConsumePrefix(&line, "0::/")) continue;
    const bool is_outside = line == ".." || absl::StartsWith(line, "../");
    return is_outside ? "/" : absl::StrCat("/", line);
  }
  return "/";
}

// Reads "QUOTA PERIOD" or "max PERIOD", in microseconds.
std::optional<int> ParseCpuMax(absl::string_view text) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  int64_t quota;
  int64_t period;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota) ||
      !absl::SimpleAtoi(words[1], &period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  const int64_t cpus = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<int>(
      std::min<int64_t>(cpus, std::numeric_limits<int>::max()));
}

// Returns the number of CPUs that the calling thread may run on, 0 if unknown.
int AffinityCount() {
  // The kernel refuses a set that is smaller than its own.
  for (size_t cpus = CPU_SETSIZE; cpus <= (1 << 20); cpus *= 2) {
    std::vector<cpu_set_t> set(cpus / CPU_SETSIZE);
    const size_t bytes = set.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, set.data()) == 0) {
      return CPU_COUNT_S(bytes, set.data());
    }
    if (errno != EINVAL) return 0;
  }
  return 0;
}

}  // namespace

int CpuCount() {
  const int64_t count = sysconf(_SC_NPROCESSORS_ONLN);
  return static_cast<int>(std::max<int64_t>(count, 1));
}

int UsableCpuCount() {
  int count = AffinityCount();
  if (count == 0) count = CpuCount();
  return std::min(count, internal::CgroupCpuLimit().value_or(count));
}

namespace internal {

std::optional<int> CgroupCpuLimit(const CgroupPaths& paths) {
  std::string group = FindGroup(ReadFile(paths.membership));
  std::optional<int> smallest;
  while (true) {
    const std::optional<int> limit =
        ParseCpuMax(ReadFile(absl::StrCat(paths.root, group, "/cpu.max")));
    if (limit.has_value())
      smallest = std::min(*limit, smallest.value_or(*limit));
    if (group.empty()) return smallest;
    group.resize(group.rfind('/'));
  }
}

}  // namespace internal
}  // namespace mp
