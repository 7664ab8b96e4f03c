#ifndef MP_PROCESS_INTERNAL_FORK_SERVER_H_
#define MP_PROCESS_INTERNAL_FORK_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/frame.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/fork_protocol.h"

namespace mp::internal {

// The fork server of this process: a child of it that makes more of them.
//
// It is started with the first child, and again whenever it is found dead. It
// ends with this process, whose death it sees as the end of its socket.
//
// Threads: safe from any; one child is started at a time.
class ForkServer {
 public:
  static ForkServer& Get();

  // Has a child made, which waits for its boot message at the other end of
  // the socket that it is given.
  //
  // Errors:
  //   kFailedPrecondition  Init() was not called, or threads run in the server.
  //   kResourceExhausted   no process, memory or descriptor left.
  //   kUnavailable         the server died several times in a row.
  struct Started {
    std::shared_ptr<Child> child;
    Fd boot_socket;
  };
  absl::StatusOr<Started> StartChild();

  // Returns the server's pid, if one runs.
  std::optional<pid_t> pid();

  // Ends the server, if there is one. For the end of this process.
  void Stop();

  // In a forked child: the server is somebody else's.
  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  absl::Status EnsureRunning() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Greet(const Fd& ledger) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Started> TryStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Started> AdoptOrphan(Started started,
                                      const absl::Status& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<FrameReader::Frame> Ask(const std::string& bytes,
                                         absl::Span<const int> fds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Kill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ForkSafeMutex mutex_;
  std::shared_ptr<Child> server_ ABSL_GUARDED_BY(mutex_);
  Fd socket_ ABSL_GUARDED_BY(mutex_);
  ForkLedger* ledger_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ForkServerMode mode_ ABSL_GUARDED_BY(mutex_) =
      ForkServerMode::kClientsChildren;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_FORK_SERVER_H_
