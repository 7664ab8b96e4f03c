#include "mp/pool/internal/engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/process/internal/monotonic.h"

namespace mp::internal {
namespace {

absl::Status Closed() {
  return absl::FailedPreconditionError("the pool is closed");
}

// How many functions are known by their bytes.
constexpr size_t kMaxJobs = 64;

}  // namespace

absl::StatusOr<std::shared_ptr<Engine>> Engine::Start(
    const DispatcherOptions& options, LocalWorkerOptions workers,
    EngineOptions extras) {
  WatchExit();
  Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.is_open()) return ErrnoStatus(errno, "eventfd");
  auto engine = std::shared_ptr<Engine>(new Engine(
      options, std::move(workers), std::move(extras), std::move(wake)));
  {
    absl::MutexLock lock(&engine->mutex_);
    engine->dispatcher_.OnTime(engine->Tick());
  }
  // A process is best forked while it has one thread.
  engine->StartPending();
  // Which keeps it alive as long as it needs it.
  engine->thread_ = std::thread([engine] { engine->Loop(); });
  const absl::Status status = engine->AwaitWorkers(options.min_workers);
  if (status.ok()) return engine;
  engine->Terminate();
  engine->Join(absl::InfiniteDuration()).IgnoreError();
  return status;
}

Engine::Engine(const DispatcherOptions& options, LocalWorkerOptions workers,
               EngineOptions extras, Fd wake)
    : worker_options_(std::move(workers)),
      max_worker_memory_(extras.max_worker_memory),
      trace_file_(std::move(extras.trace_file)),
      progress_(extras.progress == nullptr ? nullptr
                                           : std::make_shared<ProgressMeter>(
                                                 std::move(extras.progress))),
      wake_(std::move(wake)),
      dispatcher_(options, *this, *this, *this),
      recorder_(!trace_file_.empty(), Now(), absl::Now() - Now()),
      pins_(std::move(extras.cpus)) {}

Engine::~Engine() {
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else if (thread_.joinable()) {
    thread_.join();
  }
}

absl::Status Engine::AwaitWorkers(int min_workers) {
  absl::MutexLock lock(&mutex_);
  const auto settled = [this,
                        min_workers]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !dispatcher_.broken().ok() || ready_ >= min_workers;
  };
  mutex_.Await(absl::Condition(&settled));
  return dispatcher_.broken();
}

absl::StatusOr<TaskId> Engine::Submit(TaskSpec spec,
                                      std::shared_ptr<TaskHandler> handler) {
  TaskId task = 0;
  {
    absl::MutexLock lock(&inbox_mutex_);
    MP_RETURN_IF_ERROR(refusal_);
    task = ++last_task_;
    inbox_.push_back({task, std::move(spec), std::move(handler)});
    inbox_is_filled_ = true;
  }
  bool wakes = true;
  if (mutex_.TryLock()) {
    TakeIn();
    wakes = HasMore();
    mutex_.Unlock();
  }
  // The loop looks into the inbox before it sleeps.
  if (wakes && loop_sleeps_) Wake();
  return task;
}

// Gives the dispatcher what was submitted, in its order.
void Engine::TakeIn() {
  if (!inbox_is_filled_) return;
  std::vector<Submitted> tasks;
  {
    absl::MutexLock lock(&inbox_mutex_);
    tasks.swap(inbox_);
    inbox_is_filled_ = false;
  }
  for (Submitted& task : tasks) {
    handlers_[task.id] = std::move(task.handler);
    const uint64_t items = task.spec.items;
    const absl::Status status =
        dispatcher_.SubmitAs(task.id, std::move(task.spec), Tick());
    if (status.ok()) continue;
    OnOutcomes({task.id, 0}, AllFailed(items, status));
    OnTaskEnd(task.id);
  }
}

// Has what comes from now on be refused at once.
void Engine::StopSubmissions(const absl::Status& why) {
  absl::MutexLock lock(&inbox_mutex_);
  if (refusal_.ok()) refusal_ = why;
}

void Engine::Cancel(TaskId task) {
  absl::MutexLock lock(&mutex_);
  TakeIn();
  dispatcher_.Cancel(task, Tick());
  Wake();
}

void Engine::CancelWaiting() {
  absl::MutexLock lock(&mutex_);
  TakeIn();
  dispatcher_.CancelWaiting(Tick());
  Wake();
}

void Engine::Resize(int min_workers, int max_workers) {
  absl::MutexLock lock(&mutex_);
  dispatcher_.Resize(min_workers, max_workers, Tick());
  Wake();
}

void Engine::Close() {
  StopSubmissions(Closed());
  absl::MutexLock lock(&mutex_);
  TakeIn();
  closed_ = true;
  dispatcher_.Close(Tick());
  Wake();
}

void Engine::Terminate() {
  StopSubmissions(Closed());
  absl::MutexLock lock(&mutex_);
  TakeIn();
  closed_ = true;
  dispatcher_.Terminate(Tick());
  Wake();
}

absl::Status Engine::Join(absl::Duration timeout) {
  if (thread_.get_id() == std::this_thread::get_id()) {
    return absl::FailedPreconditionError(
        "a callback cannot wait for the pool that runs it");
  }
  absl::MutexLock lock(&mutex_);
  if (!closed_) {
    return absl::FailedPreconditionError(
        "the pool still runs; call Close() or Terminate() before Join()");
  }
  if (mutex_.AwaitWithTimeout(absl::Condition(&ended_), timeout)) {
    return trace_status_;
  }
  return absl::DeadlineExceededError("the pool's workers have not ended");
}

JobId Engine::JobFor(const Parcel& function) {
  absl::MutexLock lock(&inbox_mutex_);
  if (!function.handles.empty()) return ++last_job_;
  if (jobs_.size() >= kMaxJobs) jobs_.clear();
  const auto [found, is_new] = jobs_.try_emplace(function.bytes);
  if (is_new) found->second = ++last_job_;
  return found->second;
}

bool Engine::IsRunning(TaskId task) {
  absl::MutexLock lock(&mutex_);
  return std::any_of(
      workers_.begin(), workers_.end(),
      [this, task](const auto& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        const std::optional<RunItem> running = worker.second->running();
        return running.has_value() &&
               dispatcher_.TaskOf(worker.first, running->run) == task;
      });
}

void Engine::DropEnded(std::vector<TaskId>& tasks) {
  absl::MutexLock lock(&mutex_);
  TakeIn();
  tasks.erase(std::remove_if(tasks.begin(), tasks.end(),
                             [this](TaskId task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                                 mutex_) { return !handlers_.contains(task); }),
              tasks.end());
}

void Engine::Watch(std::shared_ptr<ProgressMeter> meter) {
  absl::MutexLock lock(&mutex_);
  if (std::count(meters_.begin(), meters_.end(), meter) == 0) {
    meters_.push_back(std::move(meter));
  }
  Wake();
}

PoolInsights Engine::Insights() {
  absl::MutexLock lock(&mutex_);
  PoolInsights insights = recorder_.Insights(Tick());
  insights.workers_lost = dispatcher_.lost_workers();
  return insights;
}

int Engine::workers() {
  absl::MutexLock lock(&mutex_);
  return dispatcher_.workers();
}

int Engine::max_workers() {
  absl::MutexLock lock(&mutex_);
  return dispatcher_.max_workers();
}

std::vector<pid_t> Engine::pids() {
  absl::MutexLock lock(&mutex_);
  std::vector<pid_t> pids;
  for (const auto& [id, worker] : workers_) {
    if (const auto pid = worker->pid(); pid.has_value()) pids.push_back(*pid);
  }
  return pids;
}

absl::Status Engine::Start(WorkerId worker) {
  to_start_.push_back(worker);
  return absl::OkStatus();
}

void Engine::Retire(WorkerId id) {
  LocalWorker* const worker = Find(id);
  if (worker == nullptr || !worker->Retire()) to_retire_.push_back(id);
}

void Engine::Kill(WorkerId id) {
  LocalWorker* const worker = Find(id);
  if (worker == nullptr) {
    to_kill_.push_back(id);
  } else if (!worker->Kill()) {
    to_retire_.push_back(id);
  }
}

absl::StatusOr<uint64_t> Engine::Send(WorkerId id, RunId run,
                                      const TaskSpec& spec, ItemRange items) {
  LocalWorker* const worker = Find(id);
  if (worker == nullptr) return absl::UnavailableError("it has not started");
  MP_ASSIGN_OR_RETURN(const uint64_t sent, worker->Send(run, spec, items));
  items.end = items.first + sent;
  recorder_.OnSent(id, run, spec, items, now_);
  return sent;
}

uint64_t Engine::Recall(WorkerId id, RunId run, uint64_t from) {
  LocalWorker* const worker = Find(id);
  if (worker == nullptr) return 0;
  const uint64_t items = worker->Recall(run, from);
  if (items > 0) recorder_.OnRecalled(id, run, items);
  return items;
}

void Engine::Interrupt(WorkerId id, RunId run, std::optional<uint64_t> item) {
  LocalWorker* const worker = Find(id);
  if (worker != nullptr) worker->Interrupt(run, item);
}

// Its handler is looked up when it is told, as a task may fail in the very call
// that submits it.
void Engine::OnOutcomes(TaskItem first, Outcomes outcomes) {
  deliveries_.push_back({first.task, nullptr, first.item, std::move(outcomes)});
}

void Engine::OnTaskEnd(TaskId task) {
  deliveries_.push_back({task, nullptr, 0, {}});
}

absl::Time Engine::Now() { return absl::UnixEpoch() + MonotonicNow(); }

absl::Time Engine::Tick() { return now_ = Now(); }

LocalWorker* Engine::Find(WorkerId id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : found->second.get();
}

void Engine::Wake() {
  const uint64_t one = 1;
  // It cannot fail but for a full counter, which wakes as well.
  if (write(wake_.get(), &one, sizeof(one)) < 0) return;
}

}  // namespace mp::internal
