#include "mp/pool/internal/local_worker.h"

#include <signal.h>
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
#include "mp/pool/internal/item_ranges.h"
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

// See WorkerBoard::ItemToken(): a run of more than one item lies in the ring.
static_assert(kMaxInRing / sizeof(uint32_t) < (1 << 16) - 1);

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
  const absl::Status welcomed = worker->Welcome(options);
  if (welcomed.ok()) return worker;
  // A thread sees that its pool is gone.
  if (worker->process_.Kill().ok()) worker->process_.Join().IgnoreError();
  return welcomed;
}

absl::Status LocalWorker::Welcome(const LocalWorkerOptions& options) {
  MP_ASSIGN_OR_RETURN(sentinel_, process_.sentinel());
  ToWorker hello;
  hello.kind = ToWorker::Kind::kInitializer;
  const Parcel nothing;
  const Parcel* const initializer = options.initializer.get();
  const absl::Status said = pool_end_.Say(
      std::move(hello), initializer == nullptr ? nothing : *initializer);
  // One that is dead by now is seen to have ended soon.
  return absl::IsUnavailable(said) ? absl::OkStatus() : said;
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

absl::StatusOr<uint64_t> LocalWorker::Send(RunId run, const TaskSpec& spec,
                                           ItemRange items) {
  const TaskPayload& payload = *spec.payload;
  const uint64_t number = sent_;
  // Of the run before in that slot, it must be known that it is over.
  if (number - told_ >= WorkerBoard::kSlots) {
    return absl::UnavailableError("it has all the runs that it may have");
  }
  if (std::find(jobs_.rbegin(), jobs_.rend(), payload.job) == jobs_.rend()) {
    MP_RETURN_IF_ERROR(SendJob(payload));
  }
  items.end = items.first + payload.items.Fitting(items, kMaxInRing);
  ToWorker message;
  message.kind = ToWorker::Kind::kRun;
  message.job = payload.job;
  message.run = run;
  message.first = items.first;
  message.items = items.size();
  message.number = number;
  message.has_limit = spec.time_limit < absl::InfiniteDuration();
  const uint64_t slot = number % WorkerBoard::kSlots;
  board().claims[slot].Offer(static_cast<uint32_t>(items.size()));
  SentRun& sent = sent_runs_[slot];
  sent.run.store(run, std::memory_order_relaxed);
  sent.first.store(items.first, std::memory_order_relaxed);
  sent.end.store(items.end, std::memory_order_relaxed);
  MP_RETURN_IF_ERROR(pool_end_.Say(std::move(message),
                                   {payload.items.Pack(items, packed_),
                                    payload.items.HandlesOf(items.first)}));
  sent_ = number + 1;
  return items.size();
}

// Which of the last runs that is; nullopt for an older one.
std::optional<uint64_t> LocalWorker::NumberOf(RunId run) const {
  const uint64_t end = sent_;
  for (uint64_t back = 1; back <= std::min(end, WorkerBoard::kSlots); ++back) {
    if (sent_runs_[(end - back) % WorkerBoard::kSlots].run == run) {
      return end - back;
    }
  }
  return std::nullopt;
}

uint64_t LocalWorker::Recall(RunId run, uint64_t from) {
  const std::optional<uint64_t> number = NumberOf(run);
  if (!number.has_value()) return 0;
  const uint64_t slot = *number % WorkerBoard::kSlots;
  SentRun& sent = sent_runs_[slot];
  const uint64_t end = sent.end;
  const auto items = static_cast<uint32_t>(end - sent.first);
  const auto wanted = static_cast<uint32_t>(
      std::clamp(from, sent.first.load(), end) - sent.first);
  sent.end = sent.first + board().claims[slot].TakeBack(wanted, items);
  return end - sent.end;
}

void LocalWorker::Interrupt(RunId run, std::optional<uint64_t> item) {
  const std::optional<uint64_t> number = NumberOf(run);
  if (!number.has_value()) return;
  const uint64_t first = sent_runs_[*number % WorkerBoard::kSlots].first;
  board().interrupted = item.has_value()
                            ? WorkerBoard::ItemToken(*number, *item - first)
                            : WorkerBoard::RunToken(*number);
}

bool LocalWorker::Retire() {
  ToWorker message;
  message.kind = ToWorker::Kind::kRetire;
  return pool_end_.Say(std::move(message), Parcel()).ok();
}

bool LocalWorker::Kill() {
  if (!absl::IsUnimplemented(process_.Kill())) return true;
  // A thread cannot be killed. It ends once it is done with what it runs.
  return Retire();
}

std::optional<FromWorker> LocalWorker::Receive() {
  std::optional<FromWorker> message = pool_end_.Hear();
  if (message.has_value()) NoteTold(message->item);
  if (pool_end_.damaged() && !is_spoilt_.exchange(true)) {
    process_.Kill().IgnoreError();
  }
  return message;
}

// A worker that calls a run what is none of its runs does not say anything.
void LocalWorker::NoteTold(RunItem item) {
  if (item.run != last_told_.run) {
    for (uint64_t i = told_; i < sent_; ++i) {
      if (sent_runs_[i % WorkerBoard::kSlots].run != item.run) continue;
      told_ = i;
      last_told_ = item;
    }
  } else {
    last_told_ = item;
  }
}

absl::Status LocalWorker::HowItEnded() {
  MP_RETURN_IF_ERROR(process_.Join());
  MP_ASSIGN_OR_RETURN(const ProcessReport report, process_.Report());
  const std::string text(absl::StripTrailingAsciiWhitespace(report.ToString()));
  if (is_spoilt_) {
    return absl::UnavailableError(absl::StrCat(kSpoilt, ": ", text));
  }
  return report.signal() == SIGKILL ? absl::AbortedError(text)
                                    : absl::UnavailableError(text);
}

std::optional<RunItem> LocalWorker::running() const {
  if (is_spoilt_) return FirstUntold();
  const uint64_t item_plus_1 = board().item_plus_1;
  if (item_plus_1 == 0) return std::nullopt;
  return RunItem{board().run, item_plus_1 - 1};
}

std::optional<RunItem> LocalWorker::FirstUntold() const {
  for (uint64_t i = told_; i < sent_; ++i) {
    const SentRun& sent = sent_runs_[i % WorkerBoard::kSlots];
    const uint64_t next =
        sent.run == last_told_.run ? last_told_.item + 1 : sent.first.load();
    if (next < sent.end) return RunItem{sent.run, next};
  }
  return std::nullopt;
}

}  // namespace mp::internal
