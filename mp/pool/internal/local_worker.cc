#include "mp/pool/internal/local_worker.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
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
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/pipe.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_main.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/internal/serialize_fd.h"
#include "mp/process/parcel.h"
#include "mp/process/process.h"
#include "mp/process/process_report.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp::internal {
namespace {

// How many functions a worker keeps.
constexpr size_t kMaxJobs = 64;

constexpr absl::string_view kSpoilt =
    "it had written over the memory in which its results go, and was killed";

absl::StatusOr<Fd> CreateBell() {
  Fd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.is_open()) return ErrnoStatus(errno, "eventfd");
  return Fd::AboveStdio(std::move(bell));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalWorker>> LocalWorker::Start(
    const LocalWorkerOptions& options, int number) {
  MP_ASSIGN_OR_RETURN(auto ends, Pipe());
  MP_ASSIGN_OR_RETURN(SharedMemory memory,
                      SharedMemory::Create(sizeof(WorkerMemory)));
  reinterpret_cast<WorkerMemory*>(memory.data().data())->board.cpu_share =
      options.cpu_share;
  MP_ASSIGN_OR_RETURN(Fd bell, CreateBell());
  MP_ASSIGN_OR_RETURN(Fd its_bell, bell.Dup());
  Process process({.context = options.context,
                   .name = absl::StrCat(options.name, "-", number),
                   .daemon = true},
                  RunWorker, std::move(ends.second), memory,
                  std::move(its_bell));
  MP_RETURN_IF_ERROR(process.Start());
  auto worker = std::unique_ptr<LocalWorker>(
      new LocalWorker(std::move(process), std::move(ends.first),
                      std::move(memory), std::move(bell)));
  MP_ASSIGN_OR_RETURN(worker->sentinel_, worker->process_.sentinel());
  ToWorker hello;
  hello.kind = ToWorker::Kind::kInitializer;
  const Parcel nothing;
  const Parcel* const initializer = options.initializer.get();
  const absl::Status said = worker->pool_end_.Say(
      std::move(hello), initializer == nullptr ? nothing : *initializer);
  // One that is dead by now is seen to have ended soon.
  if (said.ok() || absl::IsUnavailable(said)) return worker;
  worker->Kill();
  return said;
}

// What it forgets was needed by none but tasks that it has got before.
absl::Status LocalWorker::SendJob(const TaskPayload& payload) {
  ToWorker message;
  if (jobs_.size() >= kMaxJobs) {
    message.kind = ToWorker::Kind::kForgetJob;
    message.job = jobs_.front();
    MP_RETURN_IF_ERROR(pool_end_.Say(std::move(message), Parcel()));
    jobs_.pop_front();
    message = ToWorker();
  }
  message.kind = ToWorker::Kind::kJob;
  message.job = payload.job;
  MP_RETURN_IF_ERROR(pool_end_.Say(std::move(message), *payload.function));
  jobs_.push_back(payload.job);
  return absl::OkStatus();
}

absl::Status LocalWorker::Send(TaskId task, const TaskSpec& spec,
                               uint64_t first) {
  const TaskPayload& payload = *spec.payload;
  const uint64_t number = sent_;
  std::atomic<TaskId>& slot = board().sent[number % WorkerBoard::kSlots];
  SentTask& sent = sent_tasks_[number % WorkerBoard::kSlots];
  if (sent.task != 0 && slot == sent.task) {
    return absl::UnavailableError("a task waits in its slot");
  }
  if (std::find(jobs_.rbegin(), jobs_.rend(), payload.job) == jobs_.rend()) {
    MP_RETURN_IF_ERROR(SendJob(payload));
  }
  ToWorker message;
  message.kind = ToWorker::Kind::kTask;
  message.job = payload.job;
  message.task = task;
  message.first = first;
  message.items = spec.items;
  message.slot = number;
  message.has_limit = spec.time_limit < absl::InfiniteDuration();
  slot = task;
  sent.task.store(task, std::memory_order_relaxed);
  sent.first.store(first, std::memory_order_relaxed);
  sent.items.store(spec.items, std::memory_order_relaxed);
  const absl::Status said = pool_end_.Say(std::move(message), payload.items);
  if (said.ok()) {
    sent_ = number + 1;
  } else {
    slot = 0;
  }
  return said;
}

bool LocalWorker::Recall(TaskId task) {
  for (uint64_t slot = 0; slot < WorkerBoard::kSlots; ++slot) {
    if (board().sent[slot] != task) continue;
    if (!board().Claim(slot, task)) return false;
    sent_tasks_[slot].task = 0;
    return true;
  }
  return false;
}

bool LocalWorker::Retire() {
  ToWorker message;
  message.kind = ToWorker::Kind::kRetire;
  return pool_end_.Say(std::move(message), Parcel()).ok();
}

bool LocalWorker::Kill() {
  if (!absl::IsUnimplemented(process_.Kill())) return true;
  // A thread cannot be killed. It ends once it is done with what it runs.
  for (std::atomic<TaskId>& sent : board().sent) sent = 0;
  return Retire();
}

std::optional<FromWorker> LocalWorker::Receive() {
  std::optional<FromWorker> message = pool_end_.Hear();
  if (message.has_value() && message->kind == FromWorker::Kind::kDone) {
    last_told_ = message->item;
  }
  if (pool_end_.damaged() && !is_spoilt_.exchange(true)) {
    process_.Kill().IgnoreError();
  }
  return message;
}

absl::Status LocalWorker::HowItEnded() {
  MP_RETURN_IF_ERROR(process_.Join());
  MP_ASSIGN_OR_RETURN(const ProcessReport report, process_.Report());
  const std::string text(absl::StripTrailingAsciiWhitespace(report.ToString()));
  return absl::UnavailableError(is_spoilt_ ? absl::StrCat(kSpoilt, ": ", text)
                                           : text);
}

std::optional<TaskItem> LocalWorker::running() const {
  if (is_spoilt_) return FirstUntold();
  const uint64_t item_plus_1 = board().item_plus_1;
  if (item_plus_1 == 0) return std::nullopt;
  return TaskItem{board().task, item_plus_1 - 1};
}

std::optional<TaskItem> LocalWorker::FirstUntold() const {
  const uint64_t slots = WorkerBoard::kSlots;
  const uint64_t end = sent_;
  uint64_t at = end > slots ? end - slots : 0;
  for (uint64_t i = at; last_told_.task != 0 && i < end; ++i) {
    if (sent_tasks_[i % slots].task == last_told_.task) at = i;
  }
  for (; at < end; ++at) {
    const SentTask& sent = sent_tasks_[at % slots];
    if (sent.task == 0) continue;
    if (sent.task != last_told_.task) return TaskItem{sent.task, sent.first};
    if (last_told_.item + 1 < sent.items) {
      return TaskItem{sent.task, last_told_.item + 1};
    }
  }
  return std::nullopt;
}

}  // namespace mp::internal
