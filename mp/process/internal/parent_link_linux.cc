#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/base/pidfd.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/identity.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/serializer.h"

namespace mp::internal {
namespace {

// The pipe whose writing end ends with this process.
class LifeLine {
 public:
  absl::StatusOr<Fd> NewReader() {
    ForkSafeLock lock(mutex_);
    if (!reader_.is_open()) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
      reader_ = Fd(ends[0]);
      writer_ = Fd(ends[1]);
    }
    return reader_.Dup();
  }

  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // This process's copy would keep the parent's alive.
    writer_.Close();
    reader_.Close();
    // A thread that is not in this process may hold the lock.
    mutex_.Reset();
  }

 private:
  ForkSafeMutex mutex_;
  Fd reader_ ABSL_GUARDED_BY(mutex_);
  Fd writer_ ABSL_GUARDED_BY(mutex_);
};

LifeLine& TheLifeLine() {
  static LifeLine& line = *new LifeLine;  // outlives exit handlers
  return line;
}

ParentLink* parent = nullptr;  // written once, before the process's function

// Has the kernel send SIGKILL when the pipe's other end is closed. The owner of
// such a signal belongs to the open file, and other children share this one, so
// it is opened anew.
bool ArmLifeLine(Fd& line) {
  const std::string path = absl::StrCat("/proc/self/fd/", line.get());
  Fd own(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!own.is_open() || fcntl(own.get(), F_SETSIG, SIGKILL) != 0 ||
      fcntl(own.get(), F_SETOWN, getpid()) != 0 ||
      fcntl(own.get(), F_SETFL, O_ASYNC | O_NONBLOCK) != 0) {
    return false;
  }
  line = std::move(own);
  return true;
}

// Waits for the end in a thread, where /proc is missing.
void WatchLifeLine(int line) {
  std::thread([line] {
    if (WaitForFd(line, POLLIN, Deadline(absl::InfiniteDuration())).ok()) {
      kill(getpid(), SIGKILL);
    }
  }).detach();
}

void DieWithParent(Fd& line) {
  if (!ArmLifeLine(line)) WatchLifeLine(line.get());
  // It may have ended before.
  const absl::StatusOr<bool> ended =
      WaitForFd(line.get(), POLLIN, Deadline(absl::ZeroDuration()));
  if (ended.value_or(false)) kill(getpid(), SIGKILL);
}

}  // namespace

absl::StatusOr<ParentLink> LinkToThisProcess(bool with_life_line) {
  ParentLink link;
  link.name = CurrentIdentity().name;
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
