#include "mp/pool/internal/local_worker.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_main.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/process_report.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {
namespace {

// How many functions a worker keeps.
constexpr size_t kMaxJobs = 64;

// A parcel with other owners of the same things.
absl::StatusOr<Parcel> Copy(const Parcel& parcel) {
  Parcel copy{parcel.bytes, {}};
  for (const Fd& fd : parcel.handles) {
    MP_ASSIGN_OR_RETURN(Fd duplicate, fd.Dup());
    copy.handles.push_back(std::move(duplicate));
  }
  return copy;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalWorker>> LocalWorker::Start(
    const LocalWorkerOptions& options, int number) {
  MP_ASSIGN_OR_RETURN(auto ends, Pipe());
  MP_ASSIGN_OR_RETURN(SharedMemory memory,
                      SharedMemory::Create(sizeof(WorkerBoard)));
  ToWorker hello;
  hello.kind = ToWorker::Kind::kInitializer;
  if (options.initializer != nullptr) {
    MP_ASSIGN_OR_RETURN(hello.parcel, Copy(*options.initializer));
  }
  Process process({.context = options.context,
                   .name = absl::StrCat(options.name, "-", number),
                   .daemon = true},
                  RunWorker, std::move(ends.second), memory);
  MP_RETURN_IF_ERROR(process.Start());
  auto worker = std::unique_ptr<LocalWorker>(new LocalWorker(
      std::move(process), std::move(ends.first), std::move(memory)));
  MP_ASSIGN_OR_RETURN(worker->sentinel_, worker->process_.sentinel());
  // One that is dead by now is seen to have ended soon.
  worker->Say(hello).IgnoreError();
  return worker;
}

// What it forgets was needed by none but tasks that it has got before.
absl::Status LocalWorker::SendJob(const TaskPayload& payload) {
  ToWorker message;
  if (jobs_.size() >= kMaxJobs) {
    message.kind = ToWorker::Kind::kForgetJob;
    message.job = jobs_.front();
    MP_RETURN_IF_ERROR(Say(message));
    jobs_.pop_front();
  }
  message.kind = ToWorker::Kind::kJob;
  message.job = payload.job;
  MP_ASSIGN_OR_RETURN(message.parcel, Copy(*payload.function));
  MP_RETURN_IF_ERROR(Say(message));
  jobs_.push_back(payload.job);
  return absl::OkStatus();
}

absl::Status LocalWorker::Send(TaskId task, const TaskSpec& spec,
                               uint64_t first) {
  const TaskPayload& payload = *spec.payload;
  if (std::find(jobs_.rbegin(), jobs_.rend(), payload.job) == jobs_.rend()) {
    MP_RETURN_IF_ERROR(SendJob(payload));
  }
  ToWorker message;
  message.kind = ToWorker::Kind::kTask;
  message.job = payload.job;
  message.task = task;
  message.first = first;
  message.items = spec.items;
  message.slot = sent_;
  message.has_limit = spec.time_limit < absl::InfiniteDuration();
  MP_ASSIGN_OR_RETURN(message.parcel, Copy(payload.items));
  board().sent[sent_ % WorkerBoard::kSlots] = task;
  const absl::Status said = Say(message);
  if (said.ok()) ++sent_;
  return said;
}

bool LocalWorker::Recall(TaskId task) {
  for (uint64_t slot = 0; slot < WorkerBoard::kSlots; ++slot) {
    if (board().sent[slot] == task) return board().Claim(slot, task);
  }
  return false;
}

bool LocalWorker::Retire() {
  ToWorker message;
  message.kind = ToWorker::Kind::kRetire;
  return !absl::IsDeadlineExceeded(
      connection_.Send(message, absl::ZeroDuration()));
}

bool LocalWorker::Kill() {
  if (!absl::IsUnimplemented(process_.Kill())) return true;
  // A thread cannot be killed. It ends once it is done with what it runs.
  for (std::atomic<TaskId>& sent : board().sent) sent = 0;
  return Retire();
}

std::optional<FromWorker> LocalWorker::Receive() {
  absl::StatusOr<FromWorker> message =
      connection_.Recv<FromWorker>(absl::ZeroDuration());
  if (!message.ok()) return std::nullopt;
  return *std::move(message);
}

absl::Status LocalWorker::HowItEnded() {
  MP_RETURN_IF_ERROR(process_.Join());
  MP_ASSIGN_OR_RETURN(const ProcessReport report, process_.Report());
  const std::string text(absl::StripTrailingAsciiWhitespace(report.ToString()));
  return absl::UnavailableError(text);
}

std::optional<TaskItem> LocalWorker::running() const {
  const uint64_t item_plus_1 = board().item_plus_1;
  if (item_plus_1 == 0) return std::nullopt;
  return TaskItem{board().task, item_plus_1 - 1};
}

absl::Status LocalWorker::Say(const ToWorker& message) {
  const absl::Status sent = connection_.Send(message, absl::ZeroDuration());
  if (!absl::IsDeadlineExceeded(sent)) return sent;
  return absl::UnavailableError("the worker has not read what was sent before");
}

}  // namespace mp::internal
