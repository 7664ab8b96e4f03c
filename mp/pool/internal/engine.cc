#include "mp/pool/internal/engine.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/cpu_pins.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_memory_use.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/monotonic.h"

namespace mp::internal {
namespace {

// What one worker may say before the others are heard; and how often all are
// before anything else is looked at.
constexpr int kMaxMessages = 256;
constexpr int kMaxRounds = 16;

absl::Status Closed() {
  return absl::FailedPreconditionError("the pool is closed");
}

// How many functions are known by their bytes.
constexpr size_t kMaxJobs = 64;

}  // namespace

namespace {

// Set where this process ends, before its daemons are ended: no pool replaces
// them any more.
std::atomic<bool> process_ends{false};

void WatchExit() {
  static const auto& at_exit = *new Finalizer([] { process_ends = true; },
                                              /*exit_priority=*/0);
  static_cast<void>(at_exit);
}

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
    for (uint64_t item = 0; !status.ok() && item < items; ++item) {
      OnOutcome({task.id, item}, status);
    }
    if (!status.ok()) OnTaskEnd(task.id);
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

void Engine::Interrupt(WorkerId id, RunId run) {
  LocalWorker* const worker = Find(id);
  if (worker != nullptr) worker->Interrupt(run);
}

// Its handler is looked up when it is told, as a task may fail in the very call
// that submits it.
void Engine::OnOutcome(TaskItem item, Outcome outcome) {
  deliveries_.push_back({item.task, nullptr, item.item, std::move(outcome)});
}

void Engine::OnTaskEnd(TaskId task) {
  deliveries_.push_back({task, nullptr, std::nullopt, Parcel()});
}

void Engine::Loop() {
  while (true) {
    StartPending();
    Deliver();
    TellProgress();
    Workers workers;
    absl::Time until;
    {
      absl::MutexLock lock(&mutex_);
      TakeIn();
      if (!dispatcher_.broken().ok()) StopSubmissions(dispatcher_.broken());
      if (dispatcher_.finished() && deliveries_.empty()) {
        if (!trace_file_.empty()) {
          trace_status_ = recorder_.WriteTrace(trace_file_);
        }
        ended_ = true;
        return;
      }
      if (HasMore()) continue;
      workers = workers_;
      until = NextTime();
    }
    HearUntil(workers, until);
    absl::MutexLock lock(&mutex_);
    RetryRetire();
    dispatcher_.OnTime(Tick());
  }
}

absl::Time Engine::NextTime() {
  // Another thread may submit something meanwhile, which gets a time by that.
  absl::Time next = std::min(dispatcher_.NextTime(), Tick() + absl::Seconds(1));
  for (const auto& meter : meters_) next = std::min(next, meter->NextTime());
  if (to_retire_.empty()) return next;
  return std::min(next, Tick() + absl::Milliseconds(20));
}

// Hears what workers say as long as there is more at once, which costs no system
// call; but not for so long that nothing else is seen.
void Engine::HearUntil(const Workers& workers, absl::Time until) {
  for (int i = 0; i < kMaxRounds && AwaitMessage(workers); ++i) {
    for (const auto& [id, worker] : workers) Hear(id, *worker, false);
    if (inbox_is_filled_) {
      absl::MutexLock lock(&mutex_);
      TakeIn();
    }
    Deliver();
    until = absl::InfinitePast();
  }
  AwaitNews(workers, until);
}

// Whether one has something to say, or will in a moment.
bool Engine::AwaitMessage(const Workers& workers) const {
  for (int i = 0; i < kYields; ++i) {
    if (AnyHasMessage(workers) || inbox_is_filled_) return true;
    sched_yield();
  }
  return false;
}

bool Engine::HasMore() { return !to_start_.empty() || !deliveries_.empty(); }

// Starting takes long, and is done with nothing locked.
void Engine::StartPending() {
  while (true) {
    WorkerId id = 0;
    int number = 0;
    {
      absl::MutexLock lock(&mutex_);
      if (to_start_.empty()) return;
      id = to_start_.front();
      to_start_.erase(to_start_.begin());
      number = ++started_;
    }
    StartOne(id, number);
  }
}

void Engine::StartOne(WorkerId id, int number) {
  {
    absl::MutexLock lock(&mutex_);
    recorder_.OnStarting(id, absl::StrCat(worker_options_.name, "-", number),
                         Tick());
  }
  absl::StatusOr<std::unique_ptr<LocalWorker>> worker =
      absl::FailedPreconditionError("the process ends");
  if (!process_ends) worker = LocalWorker::Start(worker_options_, number);
  absl::MutexLock lock(&mutex_);
  const auto doomed = std::find(to_kill_.begin(), to_kill_.end(), id);
  const bool is_doomed = doomed != to_kill_.end();
  if (is_doomed) to_kill_.erase(doomed);
  if (!worker.ok()) {
    ForgetRetiring(id);
    recorder_.OnEnded(id, std::nullopt, worker.status(), Tick());
    dispatcher_.OnWorkerEnded(id, std::nullopt, worker.status(), now_);
    return;
  }
  recorder_.OnStarted(id, (*worker)->pid());
  Pin(id, **worker);
  if (is_doomed && !(*worker)->Kill()) to_retire_.push_back(id);
  workers_[id] = *std::move(worker);
}

// One that cannot be pinned, as it has ended or the CPU has gone, runs as it
// may.
void Engine::Pin(WorkerId id, const LocalWorker& worker) {
  if (pins_.empty() || !worker.pid().has_value()) return;
  PinProcess(*worker.pid(), pins_.Take(id)).IgnoreError();
}

void Engine::Deliver() {
  std::vector<Delivery> deliveries;
  {
    absl::MutexLock lock(&mutex_);
    deliveries.swap(deliveries_);
    const Delivery* last = nullptr;
    for (Delivery& delivery : deliveries) {
      if (last != nullptr && last->task == delivery.task) {
        delivery.handler = last->handler;
      } else if (const auto found = handlers_.find(delivery.task);
                 found != handlers_.end()) {
        delivery.handler = found->second;
      }
      if (!delivery.item.has_value()) handlers_.erase(delivery.task);
      last = &delivery;
    }
  }
  for (Delivery& delivery : deliveries) {
    if (delivery.handler == nullptr) continue;
    if (delivery.item.has_value()) {
      delivery.handler->OnOutcome(*delivery.item, std::move(delivery.outcome));
    } else {
      delivery.handler->OnTaskEnd();
    }
  }
}

bool Engine::AnyHasMessage(const Workers& workers) {
  return std::any_of(workers.begin(), workers.end(), [](const auto& worker) {
    return worker.second->HasMessage();
  });
}

// Those that have nothing more to tell are not looked at again.
void Engine::TellProgress() {
  std::vector<std::shared_ptr<ProgressMeter>> meters;
  {
    absl::MutexLock lock(&mutex_);
    if (meters_.empty()) return;
    meters_.erase(std::remove_if(meters_.begin(), meters_.end(),
                                 [](const auto& meter) {
                                   return meter->NextTime() ==
                                          absl::InfiniteFuture();
                                 }),
                  meters_.end());
    meters = meters_;
  }
  for (const auto& meter : meters) meter->OnTime(Now());
}

void Engine::AwaitNews(const Workers& workers, absl::Time until) {
  std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}};
  for (const auto& [id, worker] : workers) {
    fds.push_back({worker->bell(), POLLIN, 0});
    fds.push_back({worker->sentinel(), POLLIN, 0});
  }
  for (const auto& [id, worker] : workers) {
    if (worker->AskForBell()) until = absl::InfinitePast();
  }
  loop_sleeps_ = true;
  if (inbox_is_filled_) until = absl::InfinitePast();
  PollUntil(absl::MakeSpan(fds), Deadline(until - Now()))
      .status()
      .IgnoreError();
  loop_sleeps_ = false;
  auto fd = fds.begin() + 1;
  for (const auto& [id, worker] : workers) {
    worker->AnswerBell((fd++)->revents != 0);
    Hear(id, *worker, (fd++)->revents != 0 && worker->HasEnded());
  }
  uint64_t count;
  if (fds[0].revents != 0 && read(wake_.get(), &count, sizeof(count)) < 0) {
    // Another look will not hurt.
  }
}

// Takes what a worker has said, and after that its end.
void Engine::Hear(WorkerId id, LocalWorker& worker, bool has_ended) {
  for (int i = 0; has_ended || i < kMaxMessages; ++i) {
    std::optional<FromWorker> message = worker.Receive();
    if (!message.has_value()) break;
    heard_.push_back(*std::move(message));
  }
  if (!heard_.empty()) {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = Tick();
    for (FromWorker& message : heard_) Handle(id, std::move(message), now);
  }
  heard_.clear();
  if (has_ended) Bury(id, worker);
}

void Engine::Handle(WorkerId id, FromWorker message, absl::Time now) {
  switch (message.kind) {
    case FromWorker::Kind::kReady:
      ++ready_;
      recorder_.OnReady(id, workers_.at(id)->initializer_time(), now);
      return dispatcher_.OnWorkerReady(id, now);
    case FromWorker::Kind::kRefused:
      return dispatcher_.OnWorkerRefused(id, message.outcome.status(), now);
    case FromWorker::Kind::kBegun:
      recorder_.OnBegun(id, now);
      return dispatcher_.OnItemBegun(id, message.item, now);
    case FromWorker::Kind::kDone:
      return HandleDone(id, std::move(message), now);
    case FromWorker::Kind::kRanAllUpTo:
      recorder_.OnRanAllUpTo(id, message.item.run);
      return dispatcher_.OnRanAllUpTo(id, message.item.run, now);
  }
}

void Engine::HandleDone(WorkerId id, FromWorker message, absl::Time now) {
  const bool is_last = recorder_.OnDone(id, message.item, message.outcome, now);
  if (is_last && max_worker_memory_ > 0) CheckMemory(id);
  dispatcher_.OnItemDone(id, message.item, std::move(message.outcome), now);
}

void Engine::CheckMemory(WorkerId id) {
  const LocalWorker* const worker = Find(id);
  if (worker == nullptr || !worker->pid().has_value()) return;
  const std::optional<int64_t> bytes = ResidentBytes(*worker->pid());
  if (bytes.has_value() && *bytes > max_worker_memory_) {
    dispatcher_.Recycle(id, now_);
  }
}

void Engine::Bury(WorkerId id, LocalWorker& worker) {
  const std::optional<RunItem> running = worker.running();
  const absl::Status how = worker.HowItEnded();
  absl::MutexLock lock(&mutex_);
  ForgetRetiring(id);
  recorder_.OnEnded(id, running, absl::UnavailableError(how.message()), Tick());
  dispatcher_.OnWorkerEnded(id, running, how, now_);
  pins_.Release(id);
  workers_.erase(id);
}

void Engine::RetryRetire() {
  std::vector<WorkerId> again;
  again.swap(to_retire_);
  for (const WorkerId id : again) Retire(id);
}

void Engine::ForgetRetiring(WorkerId id) {
  to_retire_.erase(std::remove(to_retire_.begin(), to_retire_.end(), id),
                   to_retire_.end());
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
