#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/sharedmem/internal/memory_room.h"

namespace mp::internal {
namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;
constexpr int64_t kMaxMargin = 32 * kMebibyte;
constexpr int64_t kStep = 64 * kMebibyte;
constexpr int64_t kSmallestStep = 4096;
constexpr int64_t kStatBlock = 512;  // the unit of st_blocks

// The names that the two versions have for the same things.
struct CgroupFiles {
  const char* limit;
  const char* usage;
  absl::string_view cache;  // what the kernel drops first, in memory.stat
};
constexpr CgroupFiles kVersion1 = {
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current",
                                   "inactive_file "};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::optional<int64_t> ReadNumber(const std::string& path) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(ReadFile(path), &number)) return std::nullopt;
  return number;
}

// The number behind `key` at the start of a line.
std::optional<int64_t> NumberAfter(absl::string_view text,
                                   absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    int64_t number = 0;
    if (!absl::ConsumePrefix(&line, key)) continue;
    absl::ConsumeSuffix(&line, " kB");
    if (absl::SimpleAtoi(line, &number)) return number;
  }
  return std::nullopt;
}

// Narrows `room` to what is left of `whole`.
void Limit(MemoryRoom& room, int64_t whole, int64_t left, std::string limit) {
  const int64_t bytes =
      std::max<int64_t>(0, left - std::min(whole / 32, kMaxMargin));
  if (bytes < room.bytes) room = {bytes, std::move(limit)};
}

void LimitByMachine(MemoryRoom& room, const std::string& root) {
  const std::string text = ReadFile(root + "/proc/meminfo");
  const auto available = NumberAfter(text, "MemAvailable:");
  const auto total = NumberAfter(text, "MemTotal:");
  if (!available.has_value() || !total.has_value()) return;
  Limit(room, *total * 1024, *available * 1024, "MemAvailable");
}

void LimitByCgroup(MemoryRoom& room, const std::string& folder,
                   const CgroupFiles& files) {
  const auto limit = ReadNumber(absl::StrCat(folder, "/", files.limit));
  const auto usage = ReadNumber(absl::StrCat(folder, "/", files.usage));
  if (!limit.has_value() || !usage.has_value()) return;  // "max" is none
  const std::string stat = ReadFile(folder + "/memory.stat");
  const int64_t cache = NumberAfter(stat, files.cache).value_or(0);
  Limit(room, *limit, *limit - *usage + cache, folder);
}

// A cgroup and all those around it. One of a namespace that shows less of them
// has its files at the top.
void LimitByCgroups(MemoryRoom& room, const std::string& mount,
                    absl::string_view group, const CgroupFiles& files) {
  std::string path(group == "/" ? "" : group);
  while (true) {
    LimitByCgroup(room, mount + path, files);
    if (path.empty()) return;
    path.resize(std::min(path.rfind('/'), path.size() - 1));
  }
}

}  // namespace

MemoryRoom FindMemoryRoom(const std::string& root) {
  MemoryRoom room = {.bytes = INT64_MAX, .limit = "nothing"};
  LimitByMachine(room, root);
  const std::string mount = root + "/sys/fs/cgroup";
  const std::string groups = ReadFile(root + "/proc/self/cgroup");
  for (const absl::string_view line : absl::StrSplit(groups, '\n')) {
    // "4:memory:/path" of version 1; "0::/path" of version 2.
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[1].empty()) {
      LimitByCgroups(room, mount, parts[2], kVersion2);
      LimitByCgroups(room, mount + "/unified", parts[2], kVersion2);
    } else if (absl::StrContains(absl::StrCat(",", parts[1], ","),
                                 ",memory,")) {
      LimitByCgroups(room, mount + "/memory", parts[2], kVersion1);
    }
  }
  return room;
}

absl::Status CheckFileLimit(int64_t size_bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      static_cast<uint64_t>(size_bytes) <= limit.rlim_cur) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("SharedMemory: ", size_bytes, " bytes are more than the ",
                   limit.rlim_cur, " of RLIMIT_FSIZE (ulimit -f)"));
}

absl::Status CheckFileMayGrow(int fd, int64_t from_bytes, int64_t to_bytes) {
  MP_RETURN_IF_ERROR(CheckFileLimit(to_bytes));
  struct statvfs system;
  if (fstatvfs(fd, &system) != 0 || system.f_blocks == 0) {
    return absl::OkStatus();  // without a limit
  }
  const uint64_t pages =
      (to_bytes - from_bytes + system.f_frsize - 1) / system.f_frsize;
  if (pages <= system.f_bavail) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "SharedMemory: ", to_bytes - from_bytes, " bytes are more than the ",
      system.f_bavail * system.f_frsize,
      " that /dev/shm has left; an anonymous block needs none of it"));
}

absl::Status AllocatePages(int fd, int64_t size_bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "SharedMemory: fstat");
  int64_t missing = size_bytes - info.st_blocks * kStatBlock;
  MP_RETURN_IF_ERROR(CheckFileMayGrow(fd, 0, std::max<int64_t>(missing, 0)));
  int64_t step = kStep;
  for (int64_t begin = 0; begin < size_bytes;) {
    const MemoryRoom room = FindMemoryRoom();
    if (missing > room.bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "SharedMemory::Reserve: ", missing, " bytes are more than the ",
          room.bytes, " that ", room.limit, " has to spare"));
    }
    const int64_t before = info.st_blocks;
    const int64_t bytes = std::min(step, size_bytes - begin);
    if (fallocate(fd, 0, begin, bytes) == 0) {
      begin += bytes;
    } else if (errno == EINTR) {
      // The kernel has taken it all back: with signals that come faster than
      // it gets done, only a smaller step ever does.
      step = std::max(step / 2, kSmallestStep);
    } else {
      return ErrnoStatus(errno, "SharedMemory::Reserve: fallocate");
    }
    if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "SharedMemory: fstat");
    missing -= (info.st_blocks - before) * kStatBlock;
  }
  return absl::OkStatus();
}

}  // namespace mp::internal
