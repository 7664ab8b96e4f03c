#ifndef MP_PROCESS_INTERNAL_OOM_H_
#define MP_PROCESS_INTERNAL_OOM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/process_report.h"

namespace mp::internal {

// How many processes the kernel has killed for want of memory; nullopt where it
// does not say.
struct OomKills {
  // Of this process's cgroup and those below.
  std::optional<uint64_t> cgroup;
  // Of the whole machine.
  std::optional<uint64_t> machine;
};

// Reads the counts. `root` is "" but for tests.
//
// Source: Linux Documentation/admin-guide/cgroup-v2.rst, memory.events;
//         cgroup-v1/memory.rst, memory.oom_control; /proc/vmstat, oom_kill
//         (Linux 4.13).
OomKills ReadOomKills(const std::string& root);

// Tells whether a child that was killed by SIGKILL, though not by us, was
// killed for want of memory: by what the counts have done since it started.
//
// Threads: safe from any.
class OomWatch {
 public:
  static OomWatch& Get();

  explicit OomWatch(std::string root) : root_(std::move(root)) {}

  // Before a child starts: takes the counts as they are for explained, unless
  // it has done so within the last second.
  void BeforeStart();

  // After such a death. Each "yes" explains one kill, so the next death needs
  // another.
  OomKilled Explain();

 private:
  const std::string root_;
  ForkSafeMutex mutex_;
  OomKills explained_ ABSL_GUARDED_BY(mutex_);
  // On CLOCK_MONOTONIC.
  absl::Duration read_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_OOM_H_
