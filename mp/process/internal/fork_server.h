#ifndef MP_PROCESS_INTERNAL_FORK_SERVER_H_
#define MP_PROCESS_INTERNAL_FORK_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/frame.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/child.h"
#include "mp/process/internal/fork_protocol.h"
#include "mp/process/internal/inheritance.h"
#include "mp/process/parcel.h"

namespace mp::internal {

enum class PreloadErrors { kIgnore, kWarn, kFail };

// The fork server of this process: a child of it that makes more of them.
//
// It is started with the first child, and again whenever it is found dead. It
// ends with this process, whose death it sees as the end of its socket.
//
// Threads: safe from any; one child is started at a time.
class ForkServer {
 public:
  static ForkServer& Get();

  // Has a child made that boots from `packed`, as far as it can until it is let
  // begin: CrashSlotLease::LetBegin().
  //
  // Errors:
  //   kFailedPrecondition  Init() was not called, or threads run in the server.
  //   kResourceExhausted   no process, memory or descriptor left.
  //   kUnavailable         the server died several times in a row.
  using Started = std::shared_ptr<Child>;
  absl::StatusOr<Started> StartChild(const Parcel& packed);

  // Has the servers from now on make this call before they serve.
  //
  // Errors:
  //   kFailedPrecondition  one runs already.
  absl::Status SetPreload(std::unique_ptr<Call> call, PreloadErrors on_error);

  // Returns the server's pid, if one runs.
  std::optional<pid_t> pid();

  // Ends the server, if there is one. For the end of this process.
  void Stop();

  // In a forked child: the server is somebody else's.
  void Forget() ABSL_NO_THREAD_SAFETY_ANALYSIS;

 private:
  absl::Status EnsureRunning() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Greet(const Fd& ledger) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status JudgePreload(const absl::Status& preloaded)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Started> TryStart(const Parcel& packed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Started> AdoptOrphan(const absl::Status& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<FrameReader::Frame> Ask(const std::string& bytes,
                                         absl::Span<const int> fds,
                                         absl::Duration patience)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Kill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ForkSafeMutex mutex_;
  std::shared_ptr<Child> server_ ABSL_GUARDED_BY(mutex_);
  Fd socket_ ABSL_GUARDED_BY(mutex_);
  ForkLedger* ledger_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ForkServerMode mode_ ABSL_GUARDED_BY(mutex_) =
      ForkServerMode::kClientsChildren;
  // What the server has, once it has been told.
  std::optional<std::vector<std::string>> environment_ ABSL_GUARDED_BY(mutex_);
  // What the server was started with.
  Inheritance inheritance_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Call> preload_ ABSL_GUARDED_BY(mutex_);
  PreloadErrors on_preload_error_ ABSL_GUARDED_BY(mutex_) =
      PreloadErrors::kWarn;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_FORK_SERVER_H_
