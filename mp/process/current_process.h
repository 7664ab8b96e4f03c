#ifndef MP_PROCESS_CURRENT_PROCESS_H_
#define MP_PROCESS_CURRENT_PROCESS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/process/auth_key.h"
#include "mp/process/context.h"

// Who the calling process is, who started it, and whom it has started.
namespace mp {

struct ProcessInfo {
  std::string name;
  pid_t pid = 0;
  bool daemon = false;
  // Nothing for the program's first process.
  std::optional<StartMethod> started_by = {};
  // What its connections prove themselves with.
  AuthKey authkey = {};
};

// Returns the calling process, or the thread that stands for one. The first one
// is called "MainProcess".
//
// Source: CPython multiprocessing.current_process().
ProcessInfo CurrentProcess();

// Changes the name of the calling process, or thread that stands for one: what
// it says of itself from now on. Its starter keeps calling it by the old one.
//
// Source: CPython Process.name.
void SetCurrentProcessName(std::string name);

// Changes the key of the calling process, which processes that it makes from
// now on have too. The first process has 32 random bytes.
//
// Source: CPython Process.authkey.
void SetCurrentProcessAuthKey(AuthKey key);

// The process that started this one.
//
// Death: a daemon ends with its parent, however that ended, by SIGKILL. Any
//        other process lives on, and can ask here.
// Source: CPython multiprocessing.parent_process().
class ParentProcess {
 public:
  // Returns nothing in the program's first process.
  static std::optional<ParentProcess> Get();

  const std::string& name() const { return name_; }

  // Its pid, as it knows it itself. It may be another's once it has ended.
  pid_t pid() const { return pid_; }

  // A descriptor, not to be closed, that polls as readable once it has ended.
  int sentinel() const { return sentinel_; }

  bool IsAlive() const;

  // Waits until it has ended.
  //
  // Errors:
  //   kDeadlineExceeded  it still runs.
  absl::Status Join(absl::Duration timeout = absl::InfiniteDuration()) const;

 private:
  ParentProcess(std::string name, pid_t pid, int sentinel)
      : name_(std::move(name)), pid_(pid), sentinel_(sentinel) {}

  std::string name_;
  pid_t pid_;
  int sentinel_;
};

// Returns the processes that this one has started and that still run, without
// programs of Subprocess, and reaps the others. The keys are left out.
//
// Source: CPython multiprocessing.active_children().
std::vector<ProcessInfo> ActiveChildren();

}  // namespace mp

#endif  // MP_PROCESS_CURRENT_PROCESS_H_
