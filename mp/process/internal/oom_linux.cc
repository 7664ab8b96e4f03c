#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/oom.h"
#include "mp/process/process_report.h"

namespace mp::internal {
namespace {

// How stale the counts may be when a child starts.
constexpr absl::Duration kMaxAge = absl::Seconds(1);

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return ReadToEnd(file.get());
}

// Returns the number after `key` in a file of lines "KEY NUMBER".
std::optional<uint64_t> ReadCount(const std::string& path,
                                  absl::string_view key) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return std::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    uint64_t count;
    if (absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, " ") &&
        absl::SimpleAtoi(line, &count)) {
      return count;
    }
  }
  return std::nullopt;
}

// Returns what a line of /proc/self/cgroup says of the file that counts kills,
// if its hierarchy is one that does: that of version 2, or that of the memory
// controller in version 1.
std::optional<std::string> CountingFile(absl::string_view line) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(':', 2));
  if (parts.size() != 3) return std::nullopt;
  if (parts[1].empty()) {
    return absl::StrCat("/sys/fs/cgroup", parts[2], "/memory.events");
  }
  const std::vector<absl::string_view> controllers =
      absl::StrSplit(parts[1], ',');
  if (std::count(controllers.begin(), controllers.end(), "memory") == 0) {
    return std::nullopt;
  }
  return absl::StrCat("/sys/fs/cgroup/", parts[1], parts[2],
                      "/memory.oom_control");
}

std::optional<uint64_t> ReadOwnCgroup(const std::string& root) {
  const absl::StatusOr<std::string> text =
      ReadFile(absl::StrCat(root, "/proc/self/cgroup"));
  if (!text.ok()) return std::nullopt;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::optional<std::string> file = CountingFile(line);
    if (!file.has_value()) continue;
    const auto count = ReadCount(absl::StrCat(root, *file), "oom_kill");
    // Of the two versions, one has the memory.
    if (count.has_value()) return count;
  }
  return std::nullopt;
}

bool Rose(std::optional<uint64_t> before, std::optional<uint64_t> now) {
  return before.has_value() && now.has_value() && *now > *before;
}

bool Stayed(std::optional<uint64_t> before, std::optional<uint64_t> now) {
  return before.has_value() && now.has_value() && *now <= *before;
}

}  // namespace

OomKills ReadOomKills(const std::string& root) {
  OomKills kills;
  kills.cgroup = ReadOwnCgroup(root);
  kills.machine = ReadCount(absl::StrCat(root, "/proc/vmstat"), "oom_kill");
  return kills;
}

OomWatch& OomWatch::Get() {
  static OomWatch& watch = *new OomWatch("");  // outlives exit handlers
  static const bool held = (HoldAcrossForks(watch.mutex_), true);
  static_cast<void>(held);
  return watch;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early = (OomWatch::Get(), true);

void OomWatch::BeforeStart() {
  const absl::Duration now = MonotonicNow();
  ForkSafeLock lock(mutex_);
  if (now - read_at_ < kMaxAge) return;
  explained_ = ReadOomKills(root_);
  read_at_ = now;
}

OomKilled OomWatch::Explain() {
  const OomKills now = ReadOomKills(root_);
  ForkSafeLock lock(mutex_);
  if (Rose(explained_.cgroup, now.cgroup)) {
    ++*explained_.cgroup;
    // The same kill counts there too.
    if (Rose(explained_.machine, now.machine)) ++*explained_.machine;
    return OomKilled::kYes;
  }
  // The machine's count has all, the cgroup's only those of our own cgroup: a
  // child may have moved to another.
  if (Stayed(explained_.machine, now.machine)) return OomKilled::kNo;
  if (!now.machine.has_value() && Stayed(explained_.cgroup, now.cgroup)) {
    return OomKilled::kNo;
  }
  return OomKilled::kUnknown;
}

}  // namespace mp::internal
