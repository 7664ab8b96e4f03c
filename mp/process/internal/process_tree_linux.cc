#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/process_tree.h"

namespace mp::internal {
namespace {

// How long a process may take to stand still; one that waits for a disk, say,
// cannot. And to end.
constexpr absl::Duration kStopGrace = absl::Seconds(2);
constexpr absl::Duration kEndGrace = absl::Seconds(10);
constexpr absl::Duration kLookAgain = absl::Milliseconds(1);

// A line of /proc/PID/stat.
struct Stat {
  char state;
  pid_t parent;
  pid_t group;
  pid_t session;
  uint64_t start;
};

std::optional<Stat> ParseStat(absl::string_view line) {
  // "PID (NAME) STATE PPID PGRP SESSION ...", where NAME may hold anything; the
  // start is the 22nd.
  const size_t name_end = line.rfind(") ");
  if (name_end == absl::string_view::npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(line.substr(name_end + 2), ' ');
  Stat stat;
  if (fields.size() < 20 || fields[0].size() != 1 ||
      !absl::SimpleAtoi(fields[1], &stat.parent) ||
      !absl::SimpleAtoi(fields[2], &stat.group) ||
      !absl::SimpleAtoi(fields[3], &stat.session) ||
      !absl::SimpleAtoi(fields[19], &stat.start)) {
    return std::nullopt;
  }
  stat.state = fields[0][0];
  return stat;
}

std::optional<Stat> ReadStat(const std::string& folder) {
  const Fd file(
      open(absl::StrCat(folder, "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return std::nullopt;
  const absl::StatusOr<std::string> line = ReadToEnd(file.get());
  return line.ok() ? ParseStat(*line) : std::nullopt;
}

std::string Folder(pid_t pid) { return absl::StrCat("/proc/", pid); }

// Returns the names in a folder that are numbers.
std::vector<pid_t> ListNumbers(const std::string& folder) {
  std::vector<pid_t> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(folder.c_str()),
                                                    closedir);
  if (listing == nullptr) return numbers;
  while (const dirent* entry = readdir(listing.get())) {
    pid_t number;
    if (absl::SimpleAtoi(entry->d_name, &number)) numbers.push_back(number);
  }
  return numbers;
}

// Whether all threads of a process stand still, or have ended.
bool StandsStill(pid_t pid) {
  constexpr absl::string_view kStill = "TtZXx";
  const std::string tasks = absl::StrCat(Folder(pid), "/task");
  for (const pid_t thread : ListNumbers(tasks)) {
    const std::optional<Stat> stat = ReadStat(absl::StrCat(tasks, "/", thread));
    if (stat.has_value() && !absl::StrContains(kStill, stat->state)) {
      return false;
    }
  }
  return true;
}

// The numbers in /proc mean something only to whom it was mounted for.
absl::Status CheckProc() {
  char self[32];
  const ssize_t size = readlink("/proc/self", self, sizeof(self));
  if (size > 0 && absl::string_view(self, size) == absl::StrCat(getpid())) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "/proc is missing, or that of another PID namespace; only the program "
      "itself has been killed, not what it has started");
}

class TreeKiller {
 public:
  explicit TreeKiller(const ProcessTree& tree) : tree_(tree) {}

  absl::Status Run() {
    const absl::Status stopped = SendSignal(tree_.pidfd, SIGSTOP);
    if (absl::IsNotFound(stopped)) {
      return absl::FailedPreconditionError("it has been waited for already");
    }
    MP_RETURN_IF_ERROR(stopped);
    status_ = CheckProc();
    if (status_.ok()) StopAll();
    KillAll();
    AwaitEnds();
    return status_;
  }

 private:
  // Until a look at all processes, taken while all that are known stood still,
  // finds no more.
  void StopAll() {
    const Deadline deadline(kStopGrace);
    while (status_.ok() || absl::IsPermissionDenied(status_)) {
      SignalGroup(SIGSTOP);
      const bool still = AllStandStill();
      const bool found = FindMore();
      if ((still && !found) || deadline.Expired()) return;
      if (!still) absl::SleepFor(kLookAgain);
    }
  }

  // All at once, so that none can be born and end between two looks.
  void SignalGroup(int signal) const {
    if (tree_.owns_group || tree_.owns_session) kill(-tree_.root, signal);
  }

  bool AllStandStill() const {
    return StandsStill(tree_.root) &&
           std::all_of(
               members_.begin(), members_.end(),
               [](const auto& member) { return StandsStill(member.first); });
  }

  // Returns whether there were any, be it that they have ended meanwhile.
  bool FindMore() {
    bool found = false;
    for (const pid_t pid : ListNumbers("/proc")) {
      if (!IsCandidate(pid, ReadStat(Folder(pid)))) continue;
      found = true;
      Add(pid);
    }
    return found;
  }

  bool IsCandidate(pid_t pid, const std::optional<Stat>& stat) const {
    return stat.has_value() && pid != tree_.root && pid != getpid() &&
           members_.count(pid) == 0 && stat->state != 'Z' &&
           stat->state != 'X' && Belongs(*stat);
  }

  bool Belongs(const Stat& stat) const {
    return stat.parent == tree_.root || members_.count(stat.parent) > 0 ||
           ((tree_.owns_group || tree_.owns_session) &&
            stat.group == tree_.root) ||
           (tree_.owns_session && stat.session == tree_.root);
  }

  // Takes a process in, unless it has ended. The pid may have become another's
  // since it was listed, but not since there is a pidfd; and what it is to the
  // tree holds if nobody there has been reaped.
  void Add(pid_t pid) {
    absl::StatusOr<Fd> pidfd = OpenPidfd(pid);
    if (!pidfd.ok()) {
      if (!absl::IsNotFound(pidfd.status())) status_ = pidfd.status();
      return;
    }
    const std::optional<Stat> stat = ReadStat(Folder(pid));
    if (!IsCandidate(pid, stat) || !IsThere(*stat)) return;
    const absl::Status stopped = SendSignal(*pidfd, SIGSTOP);
    if (absl::IsNotFound(stopped)) return;
    if (!stopped.ok()) status_ = stopped;
    members_.emplace(pid, *std::move(pidfd));
  }

  // Whether that which makes a process belong has not been reaped.
  bool IsThere(const Stat& stat) const {
    const auto parent = members_.find(stat.parent);
    const Fd& owner = parent == members_.end() ? tree_.pidfd : parent->second;
    return !absl::IsNotFound(SendSignal(owner, 0));
  }

  void KillAll() {
    for (const auto& [pid, pidfd] : members_) {
      SendSignal(pidfd, SIGKILL).IgnoreError();
    }
    SignalGroup(SIGKILL);
    SendSignal(tree_.pidfd, SIGKILL).IgnoreError();
  }

  void AwaitEnds() {
    const Deadline deadline(kEndGrace);
    AwaitEnd(tree_.pidfd, deadline);
    for (const auto& [pid, pidfd] : members_) AwaitEnd(pidfd, deadline);
  }

  void AwaitEnd(const Fd& pidfd, const Deadline& deadline) {
    // One that could not be killed may take any time.
    if (absl::IsPermissionDenied(SendSignal(pidfd, SIGKILL))) return;
    const absl::StatusOr<bool> ended = WaitForFd(pidfd.get(), POLLIN, deadline);
    if (ended.value_or(false) || !status_.ok()) return;
    status_ = absl::DeadlineExceededError(
        "a process of the tree has not ended 10 s after SIGKILL");
  }

  const ProcessTree& tree_;
  std::map<pid_t, Fd> members_;  // without the root
  absl::Status status_;
};

}  // namespace

absl::Status KillTree(const ProcessTree& tree) {
  return TreeKiller(tree).Run();
}

}  // namespace mp::internal
