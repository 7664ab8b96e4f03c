#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/open_file.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/life_line.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/runner.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// The pipe whose writing end ends with this process.
class LifeLine {
 public:
  absl::StatusOr<Fd> NewReader() {
    ForkSafeLock lock(mutex_);
    if (!IsOurs(reader_) || !IsOurs(writer_)) MP_RETURN_IF_ERROR(Open());
    return reader_.Dup();
  }

  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // This process's copy would keep the parent's alive.
    if (IsOurs(writer_)) writer_.Close();
    if (IsOurs(reader_)) reader_.Close();
    LetGo();
    // A thread that is not in this process may hold the lock.
    mutex_.Reset();
  }

 private:
  absl::Status Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    LetGo();
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
    reader_ = Fd(ends[0]);
    writer_ = Fd(ends[1]);
    pipe_ = OpenFile(ends[0]);
    return absl::OkStatus();
  }

  bool IsOurs(const Fd& end) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return pipe_.IsOn(end.get());
  }

  // What is not ours any more is not ours to close.
  void LetGo() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    static_cast<void>(writer_.Release());
    static_cast<void>(reader_.Release());
  }

  ForkSafeMutex mutex_;
  OpenFile pipe_ ABSL_GUARDED_BY(mutex_);
  Fd reader_ ABSL_GUARDED_BY(mutex_);
  Fd writer_ ABSL_GUARDED_BY(mutex_);
};

LifeLine& TheLifeLine() {
  static LifeLine& line = *new LifeLine;  // outlives exit handlers
  return line;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (TheLifeLine(), true);

ParentLink* parent = nullptr;  // written once, before the process's function

void DieWithParent(Fd& line) {
  absl::StatusOr<Fd> tied = TieLifeTo(std::move(line));
  if (!tied.ok()) {
    Complain(absl::StrCat("cannot begin: ", tied.status().ToString()));
    _exit(kExitCodeNotRun);
  }
  line = *std::move(tied);
}

}  // namespace

absl::StatusOr<ParentLink> LinkToThisProcess(bool with_life_line) {
  ParentLink link;
  link.name = CurrentProcessName();
  link.pid = getpid();
  MP_ASSIGN_OR_RETURN(link.pidfd, OpenPidfd(link.pid));
  if (with_life_line) {
    MP_ASSIGN_OR_RETURN(link.life_line, TheLifeLine().NewReader());
  }
  return link;
}

void WriteParentLink(const ParentLink& link, Encoder& encoder) {
  encoder.WriteString(link.name);
  encoder.Write(link.pid);
  encoder.WriteHandle(link.pidfd.get());
  encoder.Write(link.life_line.is_open());
  if (link.life_line.is_open()) encoder.WriteHandle(link.life_line.get());
}

absl::StatusOr<ParentLink> ReadParentLink(Decoder& decoder) {
  ParentLink link;
  MP_ASSIGN_OR_RETURN(link.name, decoder.Read<std::string>());
  MP_ASSIGN_OR_RETURN(link.pid, decoder.Read<pid_t>());
  MP_ASSIGN_OR_RETURN(link.pidfd, decoder.ReadHandle());
  MP_ASSIGN_OR_RETURN(const bool has_life_line, decoder.Read<bool>());
  if (has_life_line) {
    MP_ASSIGN_OR_RETURN(link.life_line, decoder.ReadHandle());
  }
  return link;
}

void AttachToParent(ParentLink link) {
  delete std::exchange(parent, new ParentLink(std::move(link)));
  if (parent->life_line.is_open()) DieWithParent(parent->life_line);
}

void ForgetLifeLine() { TheLifeLine().Forget(); }

const ParentLink* CurrentParent() { return parent; }

}  // namespace mp::internal
