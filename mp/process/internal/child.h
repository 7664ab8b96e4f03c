#ifndef MP_PROCESS_INTERNAL_CHILD_H_
#define MP_PROCESS_INTERNAL_CHILD_H_

#include <sys/types.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_slot.h"
#include "mp/process/process_report.h"

namespace mp::internal {

// A process, or a thread in its place, that has been started.
//
// Threads: safe from any.
class Child {
 public:
  virtual ~Child() = default;

  virtual pid_t pid() const = 0;

  // Polls as readable once it has ended.
  virtual int sentinel() const = 0;

  // Waits for the end, and reaps. kDeadlineExceeded if there is none in time.
  virtual absl::Status Wait(const Deadline& deadline) = 0;

  // Returns the exit code, or -N for signal N, if it has ended, been reaped by
  // us, and that is known.
  virtual std::optional<int> exit_code() const = 0;

  virtual absl::Status Signal(int signal) = 0;

  // Before anybody else knows of it: takes the page where it writes down its
  // own end, and when it was started, on CLOCK_MONOTONIC.
  virtual void Keep(CrashSlotLease /*slot*/, absl::Duration /*started_at*/) {}

  // Returns how it ended, once it has been reaped; but for its name and start
  // method.
  virtual ProcessReport Report() const { return ProcessReport(); }
};

// Kills and reaps a child that its caller will never hear of.
void AbandonChild(Child& child);
void AbandonChild(pid_t pid);

// A child process, known by its pidfd.
class ProcessChild final : public Child {
 public:
  // `exit_status` is where the exit code comes from if the process is not our
  // own child: a pipe to which it writes the code as an int, or its parent
  // does. Whoever is first is right.
  ProcessChild(pid_t pid, Fd pidfd, Fd exit_status = Fd())
      : pid_(pid),
        pidfd_(std::move(pidfd)),
        exit_status_(std::move(exit_status)) {}
  ~ProcessChild() override;

  pid_t pid() const override { return pid_; }
  int sentinel() const override { return pidfd_.get(); }
  absl::Status Wait(const Deadline& deadline) override;
  std::optional<int> exit_code() const override;
  absl::Status Signal(int signal) override;
  void Keep(CrashSlotLease slot, absl::Duration started_at) override;
  ProcessReport Report() const override;

 private:
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeStatus(const CrashNote& note) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadExitStatus(const CrashNote& note)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LookForOom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const pid_t pid_;
  const Fd pidfd_;
  const Fd exit_status_;
  mutable ForkSafeMutex mutex_;
  CrashSlotLease slot_ ABSL_GUARDED_BY(mutex_);
  absl::Duration started_at_ ABSL_GUARDED_BY(mutex_);
  bool killed_by_us_ ABSL_GUARDED_BY(mutex_) = false;
  bool reaped_ ABSL_GUARDED_BY(mutex_) = false;
  ProcessReport report_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CHILD_H_
