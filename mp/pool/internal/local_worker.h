#ifndef MP_POOL_INTERNAL_LOCAL_WORKER_H_
#define MP_POOL_INTERNAL_LOCAL_WORKER_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/ipc/connection.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/context.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {

// How the workers of a pool on this host are started.
struct LocalWorkerOptions {
  Context context;
  std::string name = "PoolWorker";
  // A Call, encoded, or nothing.
  std::shared_ptr<const Parcel> initializer;
};

// One worker of a pool: a process or a thread of this host, and what leads to
// it.
//
// Threads: Receive() from one; the rest from any, but not Start() at the same
// time as others.
class LocalWorker {
 public:
  // Starts it, which takes a millisecond.
  //
  // Errors: those of Process::Start(), Pipe() and SharedMemory::Create().
  static absl::StatusOr<std::unique_ptr<LocalWorker>> Start(
      const LocalWorkerOptions& options, int number);

  // See Carrier.
  absl::Status Send(TaskId task, const TaskSpec& spec, uint64_t first);
  bool Recall(TaskId task);
  void Interrupt(TaskId task) { board().interrupted = task; }
  // See Launcher. False if that cannot be said now; then Retire() is to be
  // tried again. A thread is not killed, but gets no more.
  bool Retire();
  bool Kill();

  // Takes the next thing that it has said; nullopt if there is none now.
  std::optional<FromWorker> Receive();

  // Descriptors that poll as readable once there is something to receive, and
  // once it has ended.
  int connection_fd() const { return connection_.fileno(); }
  int sentinel() const { return sentinel_; }

  bool HasEnded() { return !process_.IsAlive(); }
  std::optional<pid_t> pid() const { return process_.pid(); }

  // Once it has ended: how, and what it was at.
  absl::Status HowItEnded();
  std::optional<TaskItem> running() const;

 private:
  LocalWorker(Process process, Connection connection, SharedMemory memory)
      : process_(std::move(process)),
        connection_(std::move(connection)),
        memory_(std::move(memory)) {}

  WorkerBoard& board() const {
    return *reinterpret_cast<WorkerBoard*>(memory_.data().data());
  }
  absl::Status SendJob(const TaskPayload& payload);
  absl::Status Say(const ToWorker& message);

  Process process_;
  Connection connection_;
  SharedMemory memory_;
  int sentinel_ = -1;
  uint64_t sent_ = 0;       // tasks
  std::deque<JobId> jobs_;  // those that it knows, the oldest first
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_LOCAL_WORKER_H_
