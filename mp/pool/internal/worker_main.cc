#include "mp/pool/internal/worker_main.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/pool/current_task.h"
#include "mp/pool/internal/cpu_share.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_end.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/monotonic.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {
namespace {

class PoolWorker {
 public:
  explicit PoolWorker(WorkerEnd& pool) : pool_(pool), board_(pool.board()) {}

  absl::Status Run() {
    while (true) {
      absl::StatusOr<ToWorker> message = pool_.Hear();
      if (absl::IsOutOfRange(message.status())) return absl::OkStatus();
      MP_RETURN_IF_ERROR(message.status());
      if (message->kind == ToWorker::Kind::kRetire) return absl::OkStatus();
      MP_RETURN_IF_ERROR(Handle(*std::move(message)));
    }
  }

 private:
  absl::Status Handle(ToWorker message) {
    switch (message.kind) {
      case ToWorker::Kind::kInitializer:
        return Initialize(std::move(message.parcel));
      case ToWorker::Kind::kJob:
        unopened_jobs_[message.job] = std::move(message.parcel);
        return absl::OkStatus();
      case ToWorker::Kind::kForgetJob:
        unopened_jobs_.erase(message.job);
        jobs_.erase(message.job);
        return absl::OkStatus();
      case ToWorker::Kind::kTask:
        return RunTask(std::move(message));
      case ToWorker::Kind::kRetire:
        break;
    }
    return absl::OkStatus();
  }

  absl::Status Initialize(Parcel parcel) {
    FromWorker answer;
    if (!parcel.bytes.empty()) {
      const absl::Duration begun = MonotonicNow();
      const absl::Status status = RunInitializer(std::move(parcel));
      board_.initializer_nanoseconds =
          absl::ToInt64Nanoseconds(MonotonicNow() - begun);
      if (!status.ok()) {
        answer.kind = FromWorker::Kind::kRefused;
        answer.outcome = status;
      }
    }
    return pool_.Say(answer);
  }

  static absl::Status RunInitializer(Parcel parcel) {
    Decoder decoder(std::move(parcel));
    MP_ASSIGN_OR_RETURN(const std::unique_ptr<Call> call,
                        ReadCallCatching(decoder));
    return RunCatching([&] { return call->Run(); });
  }

  static absl::StatusOr<std::unique_ptr<Job>> OpenJob(Parcel parcel) {
    Decoder decoder(std::move(parcel));
    return ReadJob(decoder);
  }

  absl::Status RunTask(ToWorker message) {
    if (!board_.Claim(message.slot, message.task)) return absl::OkStatus();
    Decoder items(std::move(message.parcel));
    MP_RETURN_IF_ERROR(Begin({message.task, message.first}, false));
    absl::Status broken = FindJob(message.job);
    for (uint64_t item = 0; item < message.items; ++item) {
      const bool has_run = item < message.first;
      if (!has_run && board_.interrupted == message.task) {
        return LeaveTask(message.task);
      }
      // Reading can kill, too. Of what has run before, the next is to blame.
      const TaskItem id = {message.task, std::max(item, message.first)};
      MP_RETURN_IF_ERROR(Begin(id, message.has_limit && !has_run));
      if (broken.ok()) broken = ReadItem(message.job, items);
      if (!has_run) MP_RETURN_IF_ERROR(RunItem(message, id, broken));
    }
    // The pool has heard of each item, which is all.
    return absl::OkStatus();
  }

  absl::Status LeaveTask(TaskId task) {
    board_.item_plus_1 = 0;
    return Say({FromWorker::Kind::kRanAllUpTo, {task, 0}, Parcel()});
  }

  // Opens it first, for the first task that needs it: what kills the worker
  // there is that task.
  absl::Status FindJob(JobId id) {
    const auto unopened = unopened_jobs_.find(id);
    if (unopened != unopened_jobs_.end()) {
      jobs_[id] = OpenJob(std::move(unopened->second));
      unopened_jobs_.erase(unopened);
    }
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return absl::InternalError("an unknown job");
    return found->second.status();
  }

  absl::Status ReadItem(JobId job, Decoder& items) {
    const absl::Status read =
        RunCatching([&] { return (*jobs_.at(job))->ReadNext(items); });
    return Explain("the worker cannot read the arguments", read);
  }

  absl::Status Begin(TaskItem id, bool tell) {
    board_.task = id.task;
    board_.item_plus_1 = id.item + 1;
    if (!tell) return absl::OkStatus();
    return Say({FromWorker::Kind::kBegun, id, Parcel()});
  }

  absl::Status RunItem(const ToWorker& message, TaskItem id,
                       const absl::Status& broken) {
    Outcome outcome = broken.ok() ? RunJob(message.job, id) : Outcome(broken);
    const absl::Status told =
        Say({FromWorker::Kind::kDone, id, std::move(outcome)});
    board_.item_plus_1 = 0;
    return told;
  }

  Outcome RunJob(JobId job, TaskItem id) {
    const CurrentTaskScope scope(board_.interrupted, id.task);
    return (*jobs_.at(job))->RunNext();
  }

  // An outcome that cannot be sent is a status, which can.
  absl::Status Say(FromWorker message) {
    const absl::Status sent = pool_.Say(message);
    if (sent.ok() || message.kind != FromWorker::Kind::kDone ||
        absl::IsUnavailable(sent)) {
      return sent;
    }
    message.outcome = Explain("the result cannot be sent", sent);
    return pool_.Say(message);
  }

  WorkerEnd& pool_;
  WorkerBoard& board_;
  absl::flat_hash_map<JobId, Parcel> unopened_jobs_;
  std::map<JobId, absl::StatusOr<std::unique_ptr<Job>>> jobs_;
};

}  // namespace

absl::Status RunWorker(Connection socket, SharedMemory memory, Fd bell) {
  if (memory.size() < sizeof(WorkerMemory)) {
    return absl::DataLossError("the memory of a pool's worker is too small");
  }
  WorkerEnd pool(std::move(socket), std::move(memory), std::move(bell));
  const CpuShareScope share(pool.board().cpu_share);
  return PoolWorker(pool).Run();
}

}  // namespace mp::internal
