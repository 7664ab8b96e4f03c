#ifndef MP_POOL_INTERNAL_LOCAL_WORKER_H_
#define MP_POOL_INTERNAL_LOCAL_WORKER_H_

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/ipc/connection.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/pool_end.h"
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
  // Of its pool's CPUs, for a pool of its own; see cpu_share.h.
  int cpu_share = 1;
  // A Call, encoded, or nothing.
  std::shared_ptr<const Parcel> initializer;
};

// One worker of a pool: a process or a thread of this host, and what leads to
// it.
//
// Threads: Receive(), HasMessage(), AskForBell(), AnswerBell() from one; of the
// rest one at a time.
// Death:   one that spoils the memory that leads to it is killed.
class LocalWorker {
 public:
  // Starts it, which takes a millisecond.
  //
  // Errors: those of Process::Start(), Pipe() and SharedMemory::Create().
  static absl::StatusOr<std::unique_ptr<LocalWorker>> Start(
      const LocalWorkerOptions& options, int number);

  // See Carrier.
  absl::StatusOr<uint64_t> Send(RunId run, const TaskSpec& spec,
                                ItemRange items);
  uint64_t Recall(RunId run, uint64_t from);
  void Interrupt(RunId run, std::optional<uint64_t> item);
  // See Launcher. False if that cannot be said now; then Retire() is to be
  // tried again. A thread is not killed, but gets no more.
  bool Retire();
  bool Kill();

  // Takes the next thing that it has said; nullopt if there is none now.
  std::optional<FromWorker> Receive();

  // Whether there is something to receive.
  bool HasMessage() const { return pool_end_.HasMessage(); }
  // Has bell() poll as readable once there is; see PoolEnd.
  bool AskForBell() { return pool_end_.AskForBell(); }
  void AnswerBell(bool rings) { pool_end_.AnswerBell(rings); }
  int bell() const { return pool_end_.bell(); }

  // Polls as readable once it has ended.
  int sentinel() const { return sentinel_; }

  // Once it is ready: how long its initializer ran, as it says.
  absl::Duration initializer_time() const {
    return absl::Nanoseconds(board().initializer_nanoseconds.load());
  }

  bool HasEnded() { return !process_.IsAlive(); }
  std::optional<pid_t> pid() const { return process_.pid(); }

  // Once it has ended: how (kAborted: killed by somebody), and what it was at. Of one that has spoilt its
  // memory that is the first item that it has not told of.
  absl::Status HowItEnded();
  std::optional<RunItem> running() const;

 private:
  LocalWorker(Process process, Connection socket, SharedMemory memory, Fd bell)
      : process_(std::move(process)),
        pool_end_(std::move(socket), std::move(memory), std::move(bell)) {}

  WorkerBoard& board() const { return pool_end_.board(); }
  // A run that was sent, where the worker cannot write.
  struct SentRun {
    std::atomic<RunId> run;
    std::atomic<uint64_t> first;
    std::atomic<uint64_t> end;  // but for what was taken back
  };

  absl::Status Welcome(const LocalWorkerOptions& options);
  absl::Status SendJob(const TaskPayload& payload);
  void NoteTold(RunItem item);
  std::optional<uint64_t> NumberOf(RunId run) const;
  std::optional<RunItem> FirstUntold() const;

  Process process_;
  PoolEnd pool_end_;
  int sentinel_ = -1;
  std::atomic<bool> is_spoilt_ = false;
  std::atomic<uint64_t> sent_ = 0;                      // runs
  std::array<SentRun, WorkerBoard::kSlots> sent_runs_;  // the last of them
  // The last thing told; and which of the runs that was, or an earlier one.
  RunItem last_told_;
  std::atomic<uint64_t> told_ = 0;
  std::string packed_;      // kept for its memory
  std::deque<JobId> jobs_;  // those that it knows, the oldest first
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_LOCAL_WORKER_H_
