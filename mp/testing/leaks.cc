#include "mp/testing/leaks.h"

#include <dirent.h>
#include <limits.h>
#include <sys/types.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/sanitizers.h"

namespace mp::testing {
namespace {

using Numbered = std::map<int, std::string>;

// Calls `visit` with each entry of `folder` that is a number. Leaves out the
// descriptor that this takes to list them.
template <typename Visit>
void ForEachNumber(const char* folder, Visit visit) {
  DIR* const listing = opendir(folder);
  if (listing == nullptr) {
    ADD_FAILURE() << "cannot list " << folder;
    return;
  }
  const bool has_fds = absl::string_view(folder) == "/proc/self/fd";
  while (const dirent* entry = readdir(listing)) {
    int number;
    if (!absl::SimpleAtoi(entry->d_name, &number)) continue;
    if (has_fds && number == dirfd(listing)) continue;
    visit(number);
  }
  closedir(listing);
}

// Returns "" where there is no such process or thread (any more).
std::string FirstLine(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

Numbered OpenFds() {
  Numbered fds;
  ForEachNumber("/proc/self/fd", [&](int fd) {
    char target[PATH_MAX];
    const ssize_t size =
        readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), target, PATH_MAX);
    if (size < 0) return;
    // To lose its name changes a file, but not what is open.
    fds[fd] = std::string(
        absl::StripSuffix(absl::string_view(target, size), " (deleted)"));
  });
  return fds;
}

Numbered Threads() {
  Numbered threads;
  ForEachNumber("/proc/self/task", [&](pid_t thread) {
    const std::string name =
        FirstLine(absl::StrCat("/proc/self/task/", thread, "/comm"));
    if (!name.empty()) threads[thread] = name;
  });
  return threads;
}

// The kernel has a list of a process's children (/proc/PID/task/TID/children),
// but not every kernel, and it is exact only while all of them stand still.
Numbered Children() {
  Numbered children;
  ForEachNumber("/proc", [&](pid_t pid) {
    const std::string stat = FirstLine(absl::StrCat("/proc/", pid, "/stat"));
    // "PID (NAME) STATE PPID ...", where NAME may hold anything.
    const size_t name = stat.find('(');
    const size_t name_end = stat.rfind(") ");
    if (name == std::string::npos || name_end == std::string::npos) return;
    const std::vector<std::string> fields =
        absl::StrSplit(stat.substr(name_end + 2), ' ');
    if (fields.size() < 2 || fields[1] != absl::StrCat(getpid())) return;
    children[pid] = absl::StrCat(stat.substr(name, name_end + 1 - name),
                                 fields[0] == "Z" ? ", a zombie" : "");
  });
  return children;
}

// Thread Sanitizer's runtime starts a thread of its own with the program's
// first, and keeps it. Has it do so now.
void StartThreadOfSanitizer() {
  if (!kThreadSanitizer) return;
  static const bool started = (std::thread([] {}).join(), true);
  static_cast<void>(started);
}

}  // namespace

ResourceSnapshot ResourceSnapshot::Take() {
  StartThreadOfSanitizer();
  ResourceSnapshot snapshot;
  snapshot.fds_ = OpenFds();
  snapshot.threads_ = Threads();
  snapshot.children_ = Children();
  return snapshot;
}

std::vector<std::string> LeaksSince(const ResourceSnapshot& before) {
  const ResourceSnapshot now = ResourceSnapshot::Take();
  std::vector<std::string> leaks;
  for (const auto& [fd, target] : now.fds()) {
    const auto old = before.fds().find(fd);
    if (old == before.fds().end() || old->second != target) {
      leaks.push_back(absl::StrCat("descriptor ", fd, ": ", target));
    }
  }
  for (const auto& [thread, name] : now.threads()) {
    if (before.threads().count(thread) > 0) continue;
    leaks.push_back(absl::StrCat("thread ", thread, ": ", name));
  }
  for (const auto& [pid, what] : now.children()) {
    if (before.children().count(pid) > 0) continue;
    leaks.push_back(absl::StrCat("child ", pid, ": ", what));
  }
  return leaks;
}

std::vector<std::string> SettledLeaksSince(const ResourceSnapshot& before,
                                           absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    std::vector<std::string> leaks = LeaksSince(before);
    if (leaks.empty() || absl::Now() >= deadline) return leaks;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

LeakCheck::~LeakCheck() {
  EXPECT_THAT(SettledLeaksSince(before_, timeout_), ::testing::IsEmpty())
      << "The test leaves these behind.";
}

}  // namespace mp::testing
