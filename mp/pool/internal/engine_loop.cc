#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/parking.h"
#include "mp/pool/internal/cpu_pins.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_memory_use.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/finalizer.h"

// What the pool's thread does: it hears the workers. What others ask of the pool
// is in engine.cc.

namespace mp::internal {
namespace {

// What one worker may say before the others are heard; and how often all are
// before anything else is looked at.
constexpr int kMaxMessages = 256;
constexpr int kMaxRounds = 16;

// Set where this process ends, before its daemons are ended: no pool replaces
// them any more.
std::atomic<bool> process_ends{false};

}  // namespace

void Engine::WatchExit() {
  static const auto& at_exit = *new Finalizer([] { process_ends = true; },
                                              /*exit_priority=*/0);
  static_cast<void>(at_exit);
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
      if (delivery.outcomes.empty()) handlers_.erase(delivery.task);
      last = &delivery;
    }
  }
  for (Delivery& delivery : deliveries) {
    if (delivery.handler == nullptr) continue;
    if (delivery.outcomes.empty()) {
      delivery.handler->OnTaskEnd();
    } else {
      delivery.handler->OnOutcomes(delivery.first,
                                   std::move(delivery.outcomes));
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
    for (size_t i = 0; i < heard_.size();) {
      if (heard_[i].kind == FromWorker::Kind::kDone) {
        i = HandleDone(id, i, now);
      } else {
        Handle(id, std::move(heard_[i++]), now);
      }
    }
  }
  heard_.clear();
  if (has_ended) Bury(id, worker);
}

// All but kDone.
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
      return;
    case FromWorker::Kind::kRanAllUpTo:
      recorder_.OnRanAllUpTo(id, message.item.run);
      return dispatcher_.OnRanAllUpTo(id, message.item.run, now);
  }
}

// Takes together what is told of items that follow each other. Returns what comes
// after them.
size_t Engine::HandleDone(WorkerId id, size_t at, absl::Time now) {
  const RunItem first = heard_[at].item;
  RunItem next = first;
  Outcomes outcomes;
  bool is_last = false;
  for (; at < heard_.size(); ++at, ++next.item) {
    FromWorker& message = heard_[at];
    if (message.kind != FromWorker::Kind::kDone || !(message.item == next)) {
      break;
    }
    is_last = recorder_.OnDone(id, next, message.outcome, now) || is_last;
    outcomes.push_back(std::move(message.outcome));
  }
  if (is_last && max_worker_memory_ > 0) CheckMemory(id);
  dispatcher_.OnItemsDone(id, first, std::move(outcomes), now);
  return at;
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

}  // namespace mp::internal
