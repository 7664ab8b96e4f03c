#include "mp/pool/internal/dispatcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {
namespace {

constexpr absl::Duration kStartPause = absl::Milliseconds(100);
// How long a worker may say nothing of what it has been sent.
constexpr absl::Duration kPatience = absl::Seconds(1);
constexpr absl::Duration kShortTask = absl::Microseconds(50);

absl::Status Cancelled() {
  return absl::CancelledError("the task was cancelled before it had run");
}

}  // namespace

absl::StatusOr<TaskId> Dispatcher::Submit(TaskSpec spec, absl::Time now) {
  if (!broken_.ok()) return broken_;
  if (closed_) return absl::FailedPreconditionError("the pool is closed");
  if (spec.items == 0) {
    return absl::InvalidArgumentError("a task without items");
  }
  const TaskId id = ++last_task_;
  Task& task = tasks_[id];
  task.left = spec.items;
  task.spec = std::move(spec);
  Enqueue(id, task);
  Advance(now);
  return id;
}

void Dispatcher::Cancel(TaskId id, absl::Time now) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;
  Task& task = found->second;
  const WorkerId worker = task.worker;
  task.cancelled = true;
  if (worker == 0) {
    SettleRest(id, Cancelled());
  } else if (carrier_.Recall(worker, id)) {
    Unsend(id, worker);
    SettleRest(id, Cancelled());
  } else {
    Warn(worker, workers_.at(worker), id, Cancelled(), now);
  }
  Advance(now);
}

void Dispatcher::CancelWaiting(absl::Time now) {
  for (const TaskId id : Ids()) {
    const WorkerId worker = tasks_.at(id).worker;
    if (worker != 0) {
      if (!carrier_.Recall(worker, id)) continue;
      Unsend(id, worker);
    }
    SettleRest(id, Cancelled());
  }
  Advance(now);
}

void Dispatcher::Resize(int min_workers, int max_workers, absl::Time now) {
  options_.min_workers = min_workers;
  options_.max_workers = max_workers;
  Advance(now);
}

void Dispatcher::Recycle(WorkerId id, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || found->second.ending) return;
  Worker& worker = found->second;
  Retire(id, worker);
  while (!worker.sent.empty() && TakeBack(id, worker.sent.back())) {
  }
  Advance(now);
}

void Dispatcher::Close(absl::Time now) {
  closed_ = true;
  Advance(now);
}

void Dispatcher::Terminate(absl::Time now) {
  closed_ = true;
  SettleAll(absl::CancelledError("the pool was terminated"));
  for (auto& [id, worker] : workers_) Kill(id, worker);
  Advance(now);
}

void Dispatcher::OnWorkerReady(WorkerId id, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || found->second.ready) return;
  found->second.ready = true;
  found->second.idle_since = now;
  Advance(now);
}

void Dispatcher::OnWorkerRefused(WorkerId id, const absl::Status& why,
                                 absl::Time now) {
  if (!workers_.contains(id)) return;
  if (broken_.ok()) {
    Break(absl::FailedPreconditionError(absl::StrCat(
        "the initializer of the pool's workers failed: ", why.ToString())));
  }
  Advance(now);
}

void Dispatcher::OnWorkerEnded(WorkerId id, std::optional<TaskItem> running,
                               const absl::Status& why, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  const Worker worker = std::move(found->second);
  workers_.erase(found);
  if (running.has_value()) SettleLost(id, worker, *running, why);
  for (const TaskId sent : worker.sent) {
    const auto task = tasks_.find(sent);
    if (task == tasks_.end()) continue;
    if (task->second.cancelled) {
      SettleRest(sent, Cancelled());
    } else {
      Enqueue(sent, task->second);
    }
  }
  if (!worker.ending) {
    --active_;
    ++lost_workers_;
    if (!worker.ran && !running.has_value()) NoteStartFailure(why, now);
  }
  Advance(now);
}

void Dispatcher::OnItemBegun(WorkerId id, TaskItem item, absl::Time now) {
  Task* const task = FindSent(id, item);
  if (task == nullptr || IsDone(*task, item.item)) return;
  const bool cancelled = task->cancelled;
  LeaveAllBefore(id, item.task);
  Worker& worker = workers_.at(id);
  worker.ran = true;
  idle_deaths_ = 0;
  if (worker.running.has_value() && worker.running->item == item) return;
  worker.running = Running{item, now};
  NoteHeard(worker, now);
  if (!cancelled) {
    worker.warning.reset();  // it was for the item before
  } else if (!worker.warning.has_value()) {
    Warn(id, worker, item.task, Cancelled(), now);
  }
}

void Dispatcher::OnItemDone(WorkerId id, TaskItem item, Outcome outcome,
                            absl::Time now) {
  Task* const task = FindSent(id, item);
  if (task == nullptr || IsDone(*task, item.item)) return;
  const bool late = task->interrupted && !task->cancelled;
  LeaveAllBefore(id, item.task);
  Worker& worker = workers_.at(id);
  worker.ran = true;
  idle_deaths_ = 0;
  if (worker.running.has_value() && worker.running->item == item) {
    worker.running.reset();
    if (late && worker.warning.has_value() &&
        worker.warning->task == item.task) {
      outcome = worker.warning->verdict;
      worker.warning.reset();
    }
  }
  Settle(item.task, item.item, std::move(outcome));
  NoteHeard(worker, now);
  if (!tasks_.contains(item.task)) {
    NotePace(worker, now);
    if (worker.sent.empty()) worker.idle_since = now;
    Advance(now);
  }
}

void Dispatcher::OnRanAllUpTo(WorkerId id, TaskId task, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  if (!std::count(worker.sent.begin(), worker.sent.end(), task)) return;
  LeaveAllBefore(id, task);
  Leave(task);
  NoteHeard(worker, now);
  if (worker.sent.empty()) worker.idle_since = now;
  Advance(now);
}

void Dispatcher::OnTime(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    CheckLimits(id, worker, now);
    CheckSilence(id, worker, now);
  }
  RetireIdle(now);
  Advance(now);
}

absl::Time Dispatcher::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, worker] : workers_) {
    if (worker.warning.has_value()) {
      next = std::min(next, worker.warning->kill_at);
    } else if (worker.running.has_value()) {
      const TaskSpec& spec = tasks_.at(worker.running->item.task).spec;
      next = std::min(next, worker.running->since + spec.time_limit);
    } else if (IsSilent(worker)) {
      next = std::min(next, worker.look_at);
    }
    if (!worker.ending && active_ > options_.min_workers) {
      next = std::min(next, worker.idle_since + options_.idle_timeout);
    }
  }
  if (broken_.ok() && Occupied() < Wanted()) next = std::min(next, next_start_);
  return next;
}

bool Dispatcher::IsDone(const Task& task, uint64_t item) {
  return item >= task.spec.items || item < task.first ||
         task.done.contains(item);
}

void Dispatcher::Settle(TaskId id, uint64_t item, Outcome outcome) {
  Task& task = tasks_.at(id);
  task.done.insert(item);
  while (task.done.erase(task.first) > 0) ++task.first;
  task.losses.erase(item);
  sink_.OnOutcome({id, item}, std::move(outcome));
  if (--task.left > 0) return;
  if (task.worker != 0) {
    Unsend(id, task.worker);
  } else {
    queue_.erase({-int64_t{task.spec.priority}, id});
  }
  tasks_.erase(id);
  sink_.OnTaskEnd(id);
}

void Dispatcher::SettleRest(TaskId id, const absl::Status& status) {
  const Task& task = tasks_.at(id);
  std::vector<uint64_t> rest;
  for (uint64_t item = task.first; item < task.spec.items; ++item) {
    if (!IsDone(task, item)) rest.push_back(item);
  }
  for (const uint64_t item : rest) Settle(id, item, status);
}

// What was running when its worker ended gets the verdict of its warning, or
// another try, or the worker's fate.
void Dispatcher::SettleLost(WorkerId id, const Worker& worker, TaskItem item,
                            const absl::Status& why) {
  const auto found = tasks_.find(item.task);
  if (found == tasks_.end() || found->second.worker != id ||
      IsDone(found->second, item.item)) {
    return;
  }
  Task& task = found->second;
  if (worker.warning.has_value() && worker.warning->task == item.task) {
    Settle(item.task, item.item, worker.warning->verdict);
  } else if (task.cancelled) {
    Settle(item.task, item.item, Cancelled());
  } else if (++task.losses[item.item] > task.spec.retries) {
    const int losses = task.losses[item.item];
    Settle(item.task, item.item,
           absl::UnavailableError(absl::StrCat(
               "the worker that ran it was lost",
               losses == 1 ? ""
                           : absl::StrCat(", as were ", losses - 1, " before"),
               ": ", why.message())));
  }
}

void Dispatcher::SettleAll(const absl::Status& status) {
  for (const TaskId id : Ids()) SettleRest(id, status);
}

// Those of all tasks, the oldest first.
std::vector<TaskId> Dispatcher::Ids() const {
  std::vector<TaskId> ids;
  ids.reserve(tasks_.size());
  for (const auto& [id, task] : tasks_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

Dispatcher::Task* Dispatcher::FindSent(WorkerId worker, TaskItem item) {
  if (!workers_.contains(worker)) return nullptr;
  const auto found = tasks_.find(item.task);
  if (found == tasks_.end() || found->second.worker != worker) return nullptr;
  return &found->second;
}

void Dispatcher::Enqueue(TaskId id, Task& task) {
  task.worker = 0;
  task.interrupted = false;
  queue_.insert({-int64_t{task.spec.priority}, id});
}

// Takes a task off a worker, if that is still known.
void Dispatcher::Unsend(TaskId id, WorkerId worker_id) {
  const auto found = workers_.find(worker_id);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  worker.sent.erase(std::remove(worker.sent.begin(), worker.sent.end(), id),
                    worker.sent.end());
  if (worker.running.has_value() && worker.running->item.task == id) {
    worker.running.reset();
  }
  if (worker.warning.has_value() && worker.warning->task == id) {
    worker.warning.reset();
  }
}

// Its worker has nothing to do with it any more.
void Dispatcher::Leave(TaskId id) {
  Task& task = tasks_.at(id);
  if (task.cancelled) {
    SettleRest(id, Cancelled());
  } else if (task.interrupted) {
    Unsend(id, task.worker);
    Enqueue(id, task);
  } else {
    SettleRest(id, absl::DataLossError(
                       "the worker that ran it has told nothing of it"));
  }
}

// A worker runs in order what it was sent.
void Dispatcher::LeaveAllBefore(WorkerId id, TaskId task) {
  Worker& worker = workers_.at(id);
  while (worker.sent.front() != task) Leave(worker.sent.front());
}

void Dispatcher::Warn(WorkerId id, Worker& worker, TaskId task,
                      absl::Status verdict, absl::Time now) {
  worker.warning =
      Warning{task, std::move(verdict), now + tasks_.at(task).spec.grace};
  carrier_.Interrupt(id, task);
}

void Dispatcher::CheckLimits(WorkerId id, Worker& worker, absl::Time now) {
  if (worker.warning.has_value()) {
    if (now < worker.warning->kill_at) return;
    worker.warning->kill_at = absl::InfiniteFuture();
    Kill(id, worker);
  } else if (worker.running.has_value()) {
    const TaskId id_of_task = worker.running->item.task;
    Task& task = tasks_.at(id_of_task);
    if (now < worker.running->since + task.spec.time_limit) return;
    task.interrupted = true;
    Warn(id, worker, id_of_task,
         absl::DeadlineExceededError(
             absl::StrCat("it ran for longer than its limit of ",
                          absl::FormatDuration(task.spec.time_limit))),
         now);
  }
}

void Dispatcher::NoteHeard(Worker& worker, absl::Time now) const {
  worker.silent = false;
  worker.unheard_since = now;
  worker.look_at = now + kPatience;
}

// One that does not begin what it has is stopped, or lacks a processor. Others
// get it, if there are any. What it has begun a chunk of it keeps, for no longer
// than an item may take.
void Dispatcher::CheckSilence(WorkerId id, Worker& worker, absl::Time now) {
  if (worker.ending || !IsSilent(worker) || now < worker.look_at) return;
  worker.look_at = now + kPatience;
  worker.silent = true;
  // Those that have nothing to say by now may go on again.
  for (auto& [other_id, other] : workers_) {
    if (other.sent.empty()) other.silent = false;
  }
  if (AnyoneIsHeard()) {
    while (!worker.sent.empty() && TakeBack(id, worker.sent.back())) {
      --worker.given;
    }
  }
  if (worker.sent.empty()) return;
  const TaskSpec& spec = tasks_.at(worker.sent.front()).spec;
  if (now >= worker.unheard_since + kPatience + spec.time_limit) {
    Kill(id, worker);
  }
}

bool Dispatcher::AnyoneIsHeard() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    const Worker& worker = entry.second;
    return worker.ready && !worker.ending && !worker.silent;
  });
}

void Dispatcher::Advance(absl::Time now) {
  SendTasks(now);
  StartWorkers(now);
  Rebalance(now);
  RetireSurplus();
}

void Dispatcher::SendTasks(absl::Time now) {
  absl::flat_hash_set<WorkerId> full;
  while (!queue_.empty()) {
    const WorkerId id = WorkerFor(full);
    if (id == 0) return;
    if (!SendFirst(id, workers_.at(id), now)) full.insert(id);
  }
}

// Sends the first task of the queue. False if the worker does not take it now.
bool Dispatcher::SendFirst(WorkerId id, Worker& worker, absl::Time now) {
  const TaskId task_id = queue_.begin()->second;
  Task& task = tasks_.at(task_id);
  const absl::Status sent = carrier_.Send(id, task_id, task.spec, task.first);
  if (absl::IsUnavailable(sent)) return false;
  if (!sent.ok()) {
    SettleRest(task_id, sent);
    return true;
  }
  queue_.erase(queue_.begin());
  task.worker = id;
  worker.sent.push_back(task_id);
  if (worker.sent.size() == 1) {
    worker.unheard_since = now;
    worker.look_at = now + kPatience;
  }
  worker.idle_since = absl::InfiniteFuture();
  if (++worker.given == options_.max_tasks_per_child) Retire(id, worker);
  return true;
}

// The one that has least to do; 0 if all have enough. Those that are silent get
// something only if all are.
WorkerId Dispatcher::WorkerFor(
    const absl::flat_hash_set<WorkerId>& full) const {
  WorkerId best = 0;
  // Nothing waits at a worker while another one could be started for it.
  const bool may_wait = active_ >= options_.max_workers;
  const bool someone_is_heard = AnyoneIsHeard();
  size_t least = std::numeric_limits<size_t>::max();
  for (const auto& [id, worker] : workers_) {
    const size_t window = may_wait ? static_cast<size_t>(worker.window) : 1;
    if (!worker.ready || worker.ending || (worker.silent && someone_is_heard) ||
        worker.sent.size() >= std::min(least, window) || full.contains(id)) {
      continue;
    }
    best = id;
    least = worker.sent.size();
  }
  return best;
}

// While its tasks end so fast that it would wait for the next ones, a worker
// gets more of them at a time.
void Dispatcher::NotePace(Worker& worker, absl::Time now) const {
  const bool is_short = now - worker.last_end < kShortTask;
  worker.last_end = now;
  worker.window =
      is_short ? std::min(2 * worker.window,
                          std::max(options_.window, options_.short_task_window))
               : options_.window;
}

// Queues again what a worker was sent. False if it has begun it.
bool Dispatcher::TakeBack(WorkerId id, TaskId task) {
  if (!carrier_.Recall(id, task)) return false;
  Unsend(task, id);
  Enqueue(task, tasks_.at(task));
  return true;
}

// Lets one that has nothing to do have what waits at another.
void Dispatcher::Rebalance(absl::Time now) {
  while (queue_.empty()) {
    const WorkerId idle = WorkerFor({});
    if (idle == 0 || !workers_.at(idle).sent.empty()) return;
    const WorkerId loaded = MostLoaded();
    if (loaded == 0) return;
    Worker& worker = workers_.at(loaded);
    const TaskId task = worker.sent.back();
    if (!TakeBack(loaded, task)) return;
    if (!worker.ending) --worker.given;
    if (!SendFirst(idle, workers_.at(idle), now)) return;
  }
}

// The one with most tasks that wait; 0 if none do.
WorkerId Dispatcher::MostLoaded() const {
  WorkerId most = 0;
  size_t tasks = 1;
  for (const auto& [id, worker] : workers_) {
    if (worker.sent.size() <= tasks) continue;
    most = id;
    tasks = worker.sent.size();
  }
  return most;
}

void Dispatcher::StartWorkers(absl::Time now) {
  while (broken_.ok() && Occupied() < Wanted() && now >= next_start_) {
    const WorkerId id = ++last_worker_;
    const absl::Status started = launcher_.Start(id);
    if (!started.ok()) return NoteStartFailure(started, now);
    workers_[id].window = options_.window;
    ++active_;
  }
}

// A worker that ended before it ran anything says nothing of any task; the next
// one may fare better, but not for ever.
void Dispatcher::NoteStartFailure(const absl::Status& why, absl::Time now) {
  next_start_ = now + kStartPause * std::min(idle_deaths_++, 50);
  if (!broken_.ok()) return;
  // Nor will another one start.
  if (absl::IsFailedPrecondition(why)) return Break(why);
  if (idle_deaths_ <= options_.max_idle_deaths) return;
  Break(absl::UnavailableError(
      absl::StrCat(idle_deaths_,
                   " workers in a row ended before they ran "
                   "anything, the last one so: ",
                   why.message())));
}

void Dispatcher::RetireSurplus() {
  // Once closed, those that have work are enough.
  const int limit = closed_ && queue_.empty() ? Busy() : options_.max_workers;
  for (size_t most = 0; active_ > limit; ++most) {
    for (auto& [id, worker] : workers_) {
      if (active_ <= limit) return;
      if (!worker.ending && worker.sent.size() <= most) Retire(id, worker);
    }
  }
}

void Dispatcher::RetireIdle(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    if (active_ <= options_.min_workers) return;
    if (!worker.ending && now >= worker.idle_since + options_.idle_timeout) {
      Retire(id, worker);
    }
  }
}

void Dispatcher::Retire(WorkerId id, Worker& worker) {
  if (worker.ending) return;
  worker.ending = true;
  --active_;
  launcher_.Retire(id);
}

void Dispatcher::Kill(WorkerId id, Worker& worker) {
  if (!worker.ending) --active_;
  worker.ending = true;
  launcher_.Kill(id);
}

// Those that run something, also if that is their last.
int Dispatcher::Busy() const {
  return static_cast<int>(std::count_if(
      workers_.begin(), workers_.end(),
      [](const auto& entry) { return !entry.second.sent.empty(); }));
}

// Those that run something, or may yet.
int Dispatcher::Occupied() const {
  return static_cast<int>(
      std::count_if(workers_.begin(), workers_.end(), [](const auto& entry) {
        return !entry.second.ending || !entry.second.sent.empty();
      }));
}

// How many workers the tasks are good for, within the limits.
int Dispatcher::Wanted() const {
  const int64_t useful = Busy() + static_cast<int64_t>(queue_.size());
  const int64_t least = closed_ ? 0 : options_.min_workers;
  return static_cast<int>(std::clamp<int64_t>(
      useful, std::min<int64_t>(least, options_.max_workers),
      options_.max_workers));
}

void Dispatcher::Break(const absl::Status& why) {
  broken_ = why;
  SettleAll(why);
  for (auto& [id, worker] : workers_) Retire(id, worker);
}

}  // namespace mp::internal
