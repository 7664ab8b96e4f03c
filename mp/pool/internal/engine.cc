#include "mp/pool/internal/engine.h"

#include <poll.h>
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
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_message.h"

namespace mp::internal {
namespace {

// What one worker may say before the others are heard.
constexpr int kMaxMessages = 256;

// How many functions are known by their bytes.
constexpr size_t kMaxJobs = 64;

}  // namespace

absl::StatusOr<std::shared_ptr<Engine>> Engine::Start(
    const DispatcherOptions& options, LocalWorkerOptions workers) {
  Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.is_open()) return ErrnoStatus(errno, "eventfd");
  auto engine = std::shared_ptr<Engine>(
      new Engine(options, std::move(workers), std::move(wake)));
  {
    absl::MutexLock lock(&engine->mutex_);
    engine->dispatcher_.OnTime(absl::Now());
  }
  // Which keeps it alive as long as it needs it.
  engine->thread_ = std::thread([engine] { engine->Loop(); });
  const absl::Status status = engine->AwaitWorkers();
  if (status.ok()) return engine;
  engine->Terminate();
  engine->Join(absl::InfiniteDuration()).IgnoreError();
  return status;
}

Engine::Engine(const DispatcherOptions& options, LocalWorkerOptions workers,
               Fd wake)
    : worker_options_(std::move(workers)),
      wake_(std::move(wake)),
      dispatcher_(options, *this, *this, *this) {}

Engine::~Engine() {
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else if (thread_.joinable()) {
    thread_.join();
  }
}

absl::Status Engine::AwaitWorkers() {
  absl::MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !dispatcher_.broken().ok() || ready_ >= dispatcher_.workers();
  };
  mutex_.Await(absl::Condition(&settled));
  return dispatcher_.broken();
}

absl::StatusOr<TaskId> Engine::Submit(TaskSpec spec,
                                      std::shared_ptr<TaskHandler> handler) {
  absl::MutexLock lock(&mutex_);
  MP_ASSIGN_OR_RETURN(const TaskId task,
                      dispatcher_.Submit(std::move(spec), absl::Now()));
  handlers_[task] = std::move(handler);
  if (HasMore()) Wake();
  return task;
}

void Engine::Cancel(TaskId task) {
  absl::MutexLock lock(&mutex_);
  dispatcher_.Cancel(task, absl::Now());
  Wake();
}

void Engine::Resize(int min_workers, int max_workers) {
  absl::MutexLock lock(&mutex_);
  dispatcher_.Resize(min_workers, max_workers, absl::Now());
  Wake();
}

void Engine::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  dispatcher_.Close(absl::Now());
  Wake();
}

void Engine::Terminate() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  dispatcher_.Terminate(absl::Now());
  Wake();
}

absl::Status Engine::Join(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  if (!closed_) {
    return absl::FailedPreconditionError(
        "the pool still runs; call Close() or Terminate() before Join()");
  }
  if (mutex_.AwaitWithTimeout(absl::Condition(&ended_), timeout)) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError("the pool's workers have not ended");
}

JobId Engine::JobFor(const Parcel& function) {
  absl::MutexLock lock(&mutex_);
  if (!function.handles.empty()) return ++last_job_;
  if (jobs_.size() >= kMaxJobs) jobs_.clear();
  const auto [found, is_new] = jobs_.try_emplace(function.bytes);
  if (is_new) found->second = ++last_job_;
  return found->second;
}

int Engine::workers() {
  absl::MutexLock lock(&mutex_);
  return dispatcher_.workers();
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

absl::Status Engine::Send(WorkerId id, TaskId task, const TaskSpec& spec,
                          uint64_t first) {
  LocalWorker* const worker = Find(id);
  if (worker == nullptr) return absl::UnavailableError("it has not started");
  return worker->Send(task, spec, first);
}

bool Engine::Recall(WorkerId id, TaskId task) {
  LocalWorker* const worker = Find(id);
  return worker != nullptr && worker->Recall(task);
}

void Engine::Interrupt(WorkerId id, TaskId task) {
  LocalWorker* const worker = Find(id);
  if (worker != nullptr) worker->Interrupt(task);
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
    Workers workers;
    absl::Time until;
    {
      absl::MutexLock lock(&mutex_);
      if (dispatcher_.finished() && deliveries_.empty()) {
        ended_ = true;
        return;
      }
      if (HasMore()) continue;
      workers = workers_;
      until = dispatcher_.NextTime();
      if (!to_retire_.empty()) {
        until = std::min(until, absl::Now() + absl::Milliseconds(20));
      }
    }
    AwaitNews(workers, until);
    for (const auto& [id, worker] : workers) Hear(id, *worker);
    absl::MutexLock lock(&mutex_);
    RetryRetire();
    dispatcher_.OnTime(absl::Now());
  }
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
  absl::StatusOr<std::unique_ptr<LocalWorker>> worker =
      LocalWorker::Start(worker_options_, number);
  absl::MutexLock lock(&mutex_);
  const auto doomed = std::find(to_kill_.begin(), to_kill_.end(), id);
  const bool is_doomed = doomed != to_kill_.end();
  if (is_doomed) to_kill_.erase(doomed);
  if (!worker.ok()) {
    ForgetRetiring(id);
    dispatcher_.OnWorkerEnded(id, std::nullopt, worker.status(), absl::Now());
    return;
  }
  if (is_doomed && !(*worker)->Kill()) to_retire_.push_back(id);
  workers_[id] = *std::move(worker);
}

void Engine::Deliver() {
  std::vector<Delivery> deliveries;
  {
    absl::MutexLock lock(&mutex_);
    deliveries.swap(deliveries_);
    for (Delivery& delivery : deliveries) {
      const auto found = handlers_.find(delivery.task);
      if (found == handlers_.end()) continue;
      delivery.handler = found->second;
      if (!delivery.item.has_value()) handlers_.erase(found);
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

void Engine::AwaitNews(const Workers& workers, absl::Time until) {
  std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}};
  for (const auto& [id, worker] : workers) {
    fds.push_back({worker->connection_fd(), POLLIN, 0});
    fds.push_back({worker->sentinel(), POLLIN, 0});
  }
  PollUntil(absl::MakeSpan(fds), Deadline(until - absl::Now()))
      .status()
      .IgnoreError();
  uint64_t count;
  if (fds[0].revents != 0 && read(wake_.get(), &count, sizeof(count)) < 0) {
    // Another look will not hurt.
  }
}

// Takes what a worker has said, and after that whether it has ended.
void Engine::Hear(WorkerId id, LocalWorker& worker) {
  const bool has_ended = worker.HasEnded();
  for (int i = 0; has_ended || i < kMaxMessages; ++i) {
    std::optional<FromWorker> message = worker.Receive();
    if (!message.has_value()) break;
    absl::MutexLock lock(&mutex_);
    Handle(id, *std::move(message));
  }
  if (has_ended) Bury(id, worker);
}

void Engine::Handle(WorkerId id, FromWorker message) {
  const absl::Time now = absl::Now();
  switch (message.kind) {
    case FromWorker::Kind::kReady:
      ++ready_;
      return dispatcher_.OnWorkerReady(id, now);
    case FromWorker::Kind::kRefused:
      return dispatcher_.OnWorkerRefused(id, message.outcome.status(), now);
    case FromWorker::Kind::kBegun:
      return dispatcher_.OnItemBegun(id, message.item, now);
    case FromWorker::Kind::kDone:
      return dispatcher_.OnItemDone(id, message.item,
                                    std::move(message.outcome), now);
    case FromWorker::Kind::kRanAllUpTo:
      return dispatcher_.OnRanAllUpTo(id, message.item.task, now);
  }
}

void Engine::Bury(WorkerId id, LocalWorker& worker) {
  const std::optional<TaskItem> running = worker.running();
  const absl::Status how = worker.HowItEnded();
  absl::MutexLock lock(&mutex_);
  ForgetRetiring(id);
  dispatcher_.OnWorkerEnded(id, running, how, absl::Now());
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
