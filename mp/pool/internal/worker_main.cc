#include "mp/pool/internal/worker_main.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/pool/current_task.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/decoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {
namespace {

class PoolWorker {
 public:
  PoolWorker(Connection& pool, WorkerBoard& board)
      : pool_(pool), board_(board) {}

  absl::Status Run() {
    while (true) {
      absl::StatusOr<ToWorker> message = pool_.Recv<ToWorker>();
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
        jobs_[message.job] = OpenJob(std::move(message.parcel));
        return absl::OkStatus();
      case ToWorker::Kind::kForgetJob:
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
      const absl::Status status = RunInitializer(std::move(parcel));
      if (!status.ok()) {
        answer.kind = FromWorker::Kind::kRefused;
        answer.outcome = status;
      }
    }
    return pool_.Send(answer);
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
    absl::Status broken = FindJob(message.job);
    for (uint64_t item = 0; item < message.items; ++item) {
      if (broken.ok()) broken = ReadItem(message.job, items);
      if (item < message.first) continue;
      if (board_.interrupted == message.task) break;
      const TaskItem id = {message.task, item};
      MP_RETURN_IF_ERROR(RunItem(message, id, broken));
    }
    return Say({FromWorker::Kind::kRanAllUpTo, {message.task, 0}, Parcel()});
  }

  absl::Status FindJob(JobId id) const {
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return absl::InternalError("an unknown job");
    return found->second.status();
  }

  absl::Status ReadItem(JobId job, Decoder& items) {
    return RunCatching([&] { return (*jobs_.at(job))->ReadNext(items); });
  }

  absl::Status RunItem(const ToWorker& message, TaskItem id,
                       const absl::Status& broken) {
    board_.task = id.task;
    board_.item_plus_1 = id.item + 1;
    if (message.has_limit) {
      MP_RETURN_IF_ERROR(Say({FromWorker::Kind::kBegun, id, Parcel()}));
    }
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
    const absl::Status sent = pool_.Send(message);
    if (sent.ok() || message.kind != FromWorker::Kind::kDone ||
        absl::IsUnavailable(sent)) {
      return sent;
    }
    message.outcome = absl::Status(
        sent.code(),
        absl::StrCat("the result cannot be sent: ", sent.message()));
    return pool_.Send(message);
  }

  Connection& pool_;
  WorkerBoard& board_;
  absl::flat_hash_map<JobId, absl::StatusOr<std::unique_ptr<Job>>> jobs_;
};

}  // namespace

absl::Status RunWorker(Connection pool, SharedMemory memory) {
  if (memory.size() < sizeof(WorkerBoard)) {
    return absl::DataLossError("the board of a pool's worker is too small");
  }
  auto& board = *reinterpret_cast<WorkerBoard*>(memory.data().data());
  return PoolWorker(pool, board).Run();
}

}  // namespace mp::internal
