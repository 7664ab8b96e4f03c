#include "examples/internal/process_tree.h"

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace examples {
namespace {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
};

std::vector<ProcessInfo> RunningProcesses() {
  std::vector<ProcessInfo> processes;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    ProcessInfo process;
    if (!absl::SimpleAtoi(entry.path().filename().native(), &process.pid)) {
      continue;
    }
    std::ifstream file(entry.path() / "stat");
    std::string text;
    std::getline(file, text, '\0');
    // "PID (NAME) STATE PARENT ...", and a name may contain anything.
    const size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) continue;  // it has gone meanwhile
    std::istringstream rest(text.substr(name_end + 1));
    char state;
    if (!(rest >> state >> process.parent)) continue;
    const bool has_ended = state == 'Z' || state == 'X';
    if (!has_ended) processes.push_back(process);
  }
  return processes;
}

// Whether the process has read some of the file, but has not closed it.
bool IsReading(pid_t pid, const std::string& path) {
  const std::string folder = absl::StrCat("/proc/", pid);
  std::error_code error;
  for (std::filesystem::directory_iterator fds(folder + "/fd", error), end;
       !error && fds != end; fds.increment(error)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(fds->path(), gone) != path) continue;
    std::ifstream info(folder + "/fdinfo/" + fds->path().filename().native());
    std::string label;
    int64_t position = 0;
    if (info >> label >> position && label == "pos:" && position > 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

bool IsRunning(pid_t pid) {
  const std::vector<ProcessInfo> processes = RunningProcesses();
  return std::any_of(processes.begin(), processes.end(),
                     [&](const auto& process) { return process.pid == pid; });
}

std::vector<pid_t> DescendantsOf(pid_t ancestor) {
  const std::vector<ProcessInfo> processes = RunningProcesses();
  std::vector<pid_t> family = {ancestor};
  for (size_t i = 0; i < family.size(); ++i) {
    for (const ProcessInfo& process : processes) {
      if (process.parent == family[i]) family.push_back(process.pid);
    }
  }
  family.erase(family.begin());
  return family;
}

std::vector<pid_t> ReadersOf(const std::string& path, pid_t ancestor) {
  std::vector<pid_t> readers = DescendantsOf(ancestor);
  readers.push_back(ancestor);
  const auto is_no_reader = [&](pid_t pid) { return !IsReading(pid, path); };
  readers.erase(std::remove_if(readers.begin(), readers.end(), is_no_reader),
                readers.end());
  return readers;
}

std::optional<pid_t> AwaitReaderOf(const std::string& path, pid_t ancestor) {
  while (IsRunning(ancestor)) {
    const std::vector<pid_t> readers = ReadersOf(path, ancestor);
    if (!readers.empty()) return readers[0];
    absl::SleepFor(absl::Milliseconds(1));
  }
  return std::nullopt;
}

}  // namespace examples
