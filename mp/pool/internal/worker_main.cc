#include "mp/pool/internal/worker_main.h"

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
#include "mp/pool/internal/item_claims.h"
#include "mp/pool/internal/job.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/packed_items.h"
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
      const absl::Status handled = Handle(*std::move(message));
      if (absl::IsOutOfRange(handled)) return absl::OkStatus();
      MP_RETURN_IF_ERROR(handled);
    }
  }

 private:
  absl::Status Handle(ToWorker message) {
    switch (message.kind) {
      case ToWorker::Kind::kInitializer:
        return Initialize(message);
      case ToWorker::Kind::kJob:
        unopened_jobs_[message.job] = pool_.TakeParcel(message);
        return absl::OkStatus();
      case ToWorker::Kind::kForgetJob:
        unopened_jobs_.erase(message.job);
        jobs_.erase(message.job);
        return absl::OkStatus();
      case ToWorker::Kind::kRun:
        return RunAll(std::move(message));
      case ToWorker::Kind::kRetire:
        break;
    }
    return absl::OkStatus();
  }

  absl::Status Initialize(ToWorker& message) {
    FromWorker answer;
    if (message.is_in_socket || !message.parcel.bytes.empty()) {
      const absl::Duration begun = MonotonicNow();
      const absl::Status status = RunInitializer(message);
      board_.initializer_nanoseconds =
          absl::ToInt64Nanoseconds(MonotonicNow() - begun);
      if (!status.ok()) {
        answer.kind = FromWorker::Kind::kRefused;
        answer.outcome = status;
      }
    }
    return pool_.Say(answer);
  }

  absl::Status RunInitializer(ToWorker& message) {
    MP_ASSIGN_OR_RETURN(Parcel parcel, pool_.TakeParcel(message));
    Decoder decoder(std::move(parcel));
    MP_ASSIGN_OR_RETURN(const std::unique_ptr<Call> call,
                        ReadCallCatching(decoder));
    return RunCatching([&] { return call->Run(); });
  }

  static absl::StatusOr<std::unique_ptr<Job>> OpenJob(
      absl::StatusOr<Parcel> parcel) {
    MP_RETURN_IF_ERROR(parcel.status());
    Decoder decoder(*std::move(parcel));
    return ReadJob(decoder);
  }

  absl::Status RunAll(ToWorker message) {
    ItemClaims& claims = board_.claims[message.number % WorkerBoard::kSlots];
    // Opened for the first item, which is to blame if that ends this worker.
    absl::StatusOr<PackedRun> items = absl::UnknownError("not opened");
    uint64_t next = 0;
    while (claims.Take() == next && next < message.items) {
      if (board_.interrupted == WorkerBoard::RunToken(message.number)) break;
      const RunItem item = {message.run, message.first + next};
      MP_RETURN_IF_ERROR(Begin(item, message.has_limit));
      if (next == 0) items = OpenRun(message);
      if (absl::IsOutOfRange(items.status())) return items.status();
      MP_RETURN_IF_ERROR(End(item, RunOne(message, item, items)));
      ++next;
    }
    // What nobody wants any more must not lie in the way of what follows.
    if (message.is_in_socket) {
      MP_RETURN_IF_ERROR(GoneOnly(pool_.TakeParcel(message).status()));
    }
    // Of one that it runs to the end, the pool has heard of each item.
    if (next == message.items) return absl::OkStatus();
    return Say({FromWorker::Kind::kRanAllUpTo, {message.run, 0}, Parcel()});
  }

  absl::StatusOr<PackedRun> OpenRun(ToWorker& message) {
    MP_ASSIGN_OR_RETURN(Parcel parcel, pool_.TakeParcel(message));
    return PackedRun::Open(std::move(parcel), message.items);
  }

  // The error of a pool that is gone; others cost what they are of.
  static absl::Status GoneOnly(const absl::Status& status) {
    return absl::IsOutOfRange(status) ? status : absl::OkStatus();
  }

  // Opens it for the first item that needs it: what kills the worker there is
  // that item.
  absl::StatusOr<Job*> FindJob(JobId id) {
    if (!unopened_jobs_.empty()) {
      const auto unopened = unopened_jobs_.find(id);
      if (unopened != unopened_jobs_.end()) {
        jobs_[id] = OpenJob(std::move(unopened->second));
        unopened_jobs_.erase(unopened);
      }
    }
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return absl::InternalError("an unknown job");
    MP_RETURN_IF_ERROR(found->second.status());
    return found->second->get();
  }

  // Reading can kill, too; so the item has begun by then.
  absl::Status Begin(RunItem item, bool tell) {
    board_.run.store(item.run, std::memory_order_release);
    board_.item_plus_1.store(item.item + 1, std::memory_order_release);
    if (!tell) return absl::OkStatus();
    return Say({FromWorker::Kind::kBegun, item, Parcel()});
  }

  absl::Status End(RunItem item, Outcome outcome) {
    const absl::Status told =
        Say({FromWorker::Kind::kDone, item, std::move(outcome)});
    board_.item_plus_1.store(0, std::memory_order_release);
    return told;
  }

  Outcome RunOne(const ToWorker& message, RunItem item,
                 absl::StatusOr<PackedRun>& items) {
    const uint64_t place = item.item - message.first;
    absl::Status read = items.status();
    MP_ASSIGN_OR_RETURN(Job* const job, FindJob(message.job));
    if (read.ok()) {
      Decoder arguments(items->Take(place));
      read = RunCatching([&] { return job->ReadNext(arguments); });
    }
    if (!read.ok())
      return Explain("the worker cannot read the arguments", read);
    const CurrentTaskScope scope(board_.interrupted,
                                 WorkerBoard::ItemToken(message.number, place),
                                 WorkerBoard::RunToken(message.number));
    return job->RunNext();
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
  absl::flat_hash_map<JobId, absl::StatusOr<Parcel>> unopened_jobs_;
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
