#include "mp/pool/internal/dispatcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/run.h"
#include "mp/pool/internal/task.h"

// What becomes of items. Which worker gets them is in dispatcher_workers.cc.

namespace mp::internal {
namespace {

// So that no sum of some of them wraps.
constexpr uint64_t kMaxChunk = uint64_t{1} << 32;

// How long a worker may say nothing of what it has been sent.
constexpr absl::Duration kPatience = absl::Seconds(1);

absl::Status Late(absl::Duration limit) {
  return absl::DeadlineExceededError(absl::StrCat(
      "it ran for longer than its limit of ", absl::FormatDuration(limit)));
}

absl::Status Cancelled() {
  return absl::CancelledError("the task was cancelled before it had run");
}

}  // namespace

absl::StatusOr<TaskId> Dispatcher::Submit(TaskSpec spec, absl::Time now) {
  const TaskId id = last_task_ + 1;
  MP_RETURN_IF_ERROR(SubmitAs(id, std::move(spec), now));
  return id;
}

absl::Status Dispatcher::SubmitAs(TaskId id, TaskSpec spec, absl::Time now) {
  if (!broken_.ok()) return broken_;
  if (closed_) return absl::FailedPreconditionError("the pool is closed");
  if (spec.items == 0) {
    return absl::InvalidArgumentError("a task without items");
  }
  spec.chunk = std::clamp<uint64_t>(spec.chunk, 1, kMaxChunk);
  last_task_ = id;
  const ItemRange items = {0, spec.items};
  Preempt(spec.priority);
  Task& task = tasks_[id];
  task.left = spec.items;
  task.spec = std::move(spec);
  Enqueue(id, items);
  Advance(now);
  return absl::OkStatus();
}

void Dispatcher::Cancel(TaskId id, absl::Time now) {
  const auto found = tasks_.find(id);
  if (found == tasks_.end()) return;
  found->second.cancelled = true;
  SettleWaiting(id, Cancelled());
  for (auto& [worker_id, worker] : workers_) {
    for (size_t i = worker.runs.size(); i-- > 0;) {
      if (worker.runs[i].task() != id) continue;
      SettleRange(id, TakeBack(worker_id, worker, i, 0), Cancelled());
    }
  }
  Advance(now);
}

void Dispatcher::CancelWaiting(absl::Time now) {
  for (auto& [id, worker] : workers_) TakeBackAll(id, worker);
  for (const TaskId id : Ids()) SettleWaiting(id, Cancelled());
  Advance(now);
}

void Dispatcher::Resize(int min_workers, int max_workers, absl::Time now) {
  options_.min_workers = min_workers;
  options_.max_workers = max_workers;
  Advance(now);
}

void Dispatcher::Recycle(WorkerId id, absl::Time now) {
  Worker* const worker = Find(id);
  if (worker == nullptr || worker->ending) return;
  Retire(id, *worker);
  TakeBackAll(id, *worker);
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
  Worker* const worker = Find(id);
  if (worker == nullptr || worker->ready) return;
  worker->ready = true;
  Advance(now);
}

void Dispatcher::OnWorkerRefused(WorkerId id, const absl::Status& why,
                                 absl::Time now) {
  if (Find(id) == nullptr) return;
  if (broken_.ok()) {
    Break(absl::FailedPreconditionError(absl::StrCat(
        "the initializer of the pool's workers failed: ", why.ToString())));
  }
  Advance(now);
}

void Dispatcher::OnWorkerEnded(WorkerId id, std::optional<RunItem> running,
                               const absl::Status& why, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  Worker worker = std::move(found->second);
  workers_.erase(found);
  if (running.has_value()) SettleLost(worker, *running, why);
  for (const Run& run : worker.runs) {
    const ItemRanges left = run.Left();
    for (const ItemRange items : left.ranges()) Return(run.task(), items);
  }
  if (!worker.ending) {
    --active_;
    ++lost_workers_;
    if (!worker.ran && !running.has_value()) NoteStartFailure(why, now);
  }
  Advance(now);
}

void Dispatcher::OnItemBegun(WorkerId id, RunItem item, absl::Time now) {
  Worker* const worker = Find(id);
  if (worker == nullptr) return;
  const Run* const run = FindRun(*worker, item.run);
  if (run == nullptr || run->IsDone(item.item)) return;
  LeaveAllBefore(*worker, item.run);
  worker->ran = true;
  idle_deaths_ = 0;
  if (worker->running.has_value() && worker->running->item == item) return;
  worker->running = Running{item, now};
  NoteHeard(*worker, now);
  // It may have been for the item before.
  if (worker->warning.has_value() && !worker->warning->IsFor(item)) {
    worker->warning.reset();
  }
  WarnOfCancelled(now);
}

void Dispatcher::OnItemDone(WorkerId id, RunItem item, Outcome outcome,
                            absl::Time now) {
  Worker* const worker = Find(id);
  if (worker == nullptr) return;
  Run* const run = FindRun(*worker, item.run);
  if (run == nullptr || run->IsDone(item.item)) return;
  LeaveAllBefore(*worker, item.run);
  worker->ran = true;
  idle_deaths_ = 0;
  const TaskId task = run->task();
  if (worker->running.has_value() && worker->running->item == item) {
    worker->running.reset();
    if (worker->warning.has_value() && worker->warning->item == item.item &&
        worker->warning->run == item.run && !tasks_.at(task).cancelled) {
      outcome = worker->warning->verdict;
      worker->warning.reset();
    }
  }
  run->MarkDone(item.item);
  const bool is_over = run->is_over();
  if (is_over) Remove(*worker, 0);
  Settle(task, item.item, std::move(outcome));
  NoteHeard(*worker, now);
  if (is_over) EndRun(*worker, now);
}

void Dispatcher::OnItemsDone(WorkerId id, RunItem first, Outcomes outcomes,
                             absl::Time now) {
  Worker* const worker = Find(id);
  Run* const run =
      worker == nullptr || worker->running.has_value() || worker->runs.empty()
          ? nullptr
          : &worker->runs.front();
  // Where all is as it mostly is, it takes no thought for each.
  if (run == nullptr || run->id() != first.run ||
      !run->MarkNextDone(first.item, outcomes.size())) {
    for (Outcome& outcome : outcomes) {
      OnItemDone(id, first, std::move(outcome), now);
      ++first.item;
    }
    return;
  }
  worker->ran = true;
  idle_deaths_ = 0;
  const TaskId task = run->task();
  const bool is_over = run->is_over();
  if (is_over) Remove(*worker, 0);
  SettleSome(task, first.item, std::move(outcomes));
  NoteHeard(*worker, now);
  if (is_over) EndRun(*worker, now);
}

void Dispatcher::EndRun(Worker& worker, absl::Time now) {
  NotePace(worker, now);
  Advance(now);
}

void Dispatcher::OnRanAllUpTo(WorkerId id, RunId run, absl::Time now) {
  Worker* const worker = Find(id);
  if (worker == nullptr || FindRun(*worker, run) == nullptr) return;
  LeaveAllBefore(*worker, run);
  Leave(*worker);
  NoteHeard(*worker, now);
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
      const auto task = TaskOf(id, worker.running->item.run);
      next = std::min(next,
                      worker.running->since + tasks_.at(*task).spec.time_limit);
    } else if (IsSilent(worker)) {
      next = std::min(next, worker.look_at);
    }
    if (!worker.ending && active_ > options_.min_workers) {
      next = std::min(next, worker.idle_since + options_.idle_timeout);
    }
  }
  if (broken_.ok() && LacksWorkers()) next = std::min(next, next_start_);
  return next;
}

std::optional<TaskId> Dispatcher::TaskOf(WorkerId id, RunId run) const {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return std::nullopt;
  for (const Run& its : worker->second.runs) {
    if (its.id() == run) return its.task();
  }
  return std::nullopt;
}

void Dispatcher::Settle(TaskId id, uint64_t item, Outcome outcome) {
  Outcomes outcomes;
  outcomes.push_back(std::move(outcome));
  SettleSome(id, item, std::move(outcomes));
}

void Dispatcher::SettleSome(TaskId id, uint64_t first, Outcomes outcomes) {
  const auto found = tasks_.find(id);
  found->second.left -= outcomes.size();
  sink_.OnOutcomes({id, first}, std::move(outcomes));
  if (found->second.left > 0) return;
  tasks_.erase(found);
  sink_.OnTaskEnd(id);
}

void Dispatcher::SettleRange(TaskId id, ItemRange items,
                             const absl::Status& status) {
  for (uint64_t item = items.first; item < items.end; ++item) {
    Settle(id, item, status);
  }
}

void Dispatcher::SettleWaiting(TaskId id, const absl::Status& status) {
  // The last one may end the task.
  const auto is_waiting = [&] {
    const auto found = tasks_.find(id);
    return found != tasks_.end() && !found->second.waiting.empty();
  };
  while (is_waiting()) {
    SettleRange(id, Dequeue(id, tasks_.at(id).left), status);
  }
}

// What was running when its worker ended gets the verdict of its warning, or
// another try, or the worker's fate.
void Dispatcher::SettleLost(Worker& worker, RunItem item,
                            const absl::Status& why) {
  Run* const run = FindRun(worker, item.run);
  if (run == nullptr || run->IsDone(item.item)) return;
  Task& task = tasks_.at(run->task());
  absl::Status outcome;
  if (worker.warning.has_value() && worker.warning->IsFor(item)) {
    outcome = worker.warning->verdict;
  } else if (task.cancelled) {
    outcome = Cancelled();
  } else if (const int losses = ++task.losses[item.item];
             losses > task.spec.retries) {
    outcome = absl::UnavailableError(absl::StrCat(
        "the worker that ran it was lost",
        losses == 1 ? "" : absl::StrCat(", as were ", losses - 1, " before"),
        ": ", why.message()));
  } else {
    return;
  }
  run->MarkDone(item.item);
  Settle(run->task(), item.item, outcome);
}

void Dispatcher::SettleAll(const absl::Status& status) {
  for (auto& [id, worker] : workers_) {
    for (const Run& run : worker.runs) {
      const ItemRanges left = run.Left();
      for (const ItemRange items : left.ranges()) Enqueue(run.task(), items);
    }
    worker.runs.clear();
    worker.running.reset();
    worker.warning.reset();
  }
  for (const TaskId id : Ids()) SettleWaiting(id, status);
}

// Those of all tasks, the oldest first.
std::vector<TaskId> Dispatcher::Ids() const {
  std::vector<TaskId> ids;
  ids.reserve(tasks_.size());
  for (const auto& [id, task] : tasks_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

Dispatcher::Worker* Dispatcher::Find(WorkerId id) {
  const auto found = workers_.find(id);
  return found == workers_.end() ? nullptr : &found->second;
}

Run* Dispatcher::FindRun(Worker& worker, RunId id) {
  const auto found =
      std::find_if(worker.runs.begin(), worker.runs.end(),
                   [id](const Run& run) { return run.id() == id; });
  return found == worker.runs.end() ? nullptr : &*found;
}

void Dispatcher::Enqueue(TaskId id, ItemRange items) {
  if (items.empty()) return;
  Task& task = tasks_.at(id);
  if (task.waiting.empty()) queue_.insert({-int64_t{task.spec.priority}, id});
  task.waiting.Add(items);
}

// Takes the first of those that wait, so many at most.
ItemRange Dispatcher::Dequeue(TaskId id, uint64_t items) {
  Task& task = tasks_.at(id);
  const ItemRange taken = task.waiting.TakeFirst(items);
  if (task.waiting.empty()) queue_.erase({-int64_t{task.spec.priority}, id});
  return taken;
}

// Has items run elsewhere that no worker has.
void Dispatcher::Return(TaskId id, ItemRange items) {
  if (items.empty()) return;
  if (tasks_.at(id).cancelled) {
    SettleRange(id, items, Cancelled());
  } else {
    Enqueue(id, items);
  }
}

// Takes back what a worker has not begun of a run, but for what comes before
// `from`. Nobody has it then. A run of which nothing is left is gone.
ItemRange Dispatcher::TakeBack(WorkerId id, Worker& worker, size_t at,
                               uint64_t from) {
  Run& run = worker.runs[at];
  const ItemRange items = run.TakeLast(carrier_.Recall(id, run.id(), from));
  worker.given -= ChunksOf(tasks_.at(run.task()).spec, items.size());
  if (run.is_over()) Remove(worker, at);
  return items;
}

// Has run elsewhere what a worker has not begun. Whether that is all it had.
bool Dispatcher::TakeBackAll(WorkerId id, Worker& worker) {
  for (size_t i = worker.runs.size(); i-- > 0;) {
    const TaskId task = worker.runs[i].task();
    Return(task, TakeBack(id, worker, i, 0));
  }
  return worker.runs.empty();
}

// Takes a run off a worker.
Run Dispatcher::Remove(Worker& worker, size_t at) {
  const auto found = worker.runs.begin() + static_cast<ptrdiff_t>(at);
  Run run = std::move(*found);
  worker.runs.erase(found);
  if (worker.running.has_value() && worker.running->item.run == run.id()) {
    worker.running.reset();
  }
  if (worker.warning.has_value() && worker.warning->run == run.id()) {
    worker.warning.reset();
  }
  return run;
}

// A worker has nothing to do with its first run any more.
void Dispatcher::Leave(Worker& worker) {
  const Run run = Remove(worker, 0);
  const ItemRanges left = run.Left();
  for (const ItemRange items : left.ranges()) {
    if (tasks_.at(run.task()).cancelled) {
      Return(run.task(), items);
    } else {
      SettleRange(
          run.task(), items,
          absl::DataLossError("the worker that ran it has told nothing of it"));
    }
  }
}

// A worker runs in order what it was sent.
void Dispatcher::LeaveAllBefore(Worker& worker, RunId run) {
  while (worker.runs.front().id() != run) Leave(worker);
}

void Dispatcher::Warn(WorkerId id, Worker& worker, const Run& run,
                      std::optional<uint64_t> item, absl::Status verdict,
                      absl::Time now) {
  worker.warning = Warning{run.id(), item, std::move(verdict),
                           now + tasks_.at(run.task()).spec.grace};
  carrier_.Interrupt(id, run.id(), item);
}

// One that is at its first run, of a task that was cancelled, is to give it up.
// Of its others it has begun none, or the first is over and not heard of yet.
void Dispatcher::WarnOfCancelled(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    if (worker.runs.empty() || worker.warning.has_value()) continue;
    const Run& run = worker.runs.front();
    if (!tasks_.at(run.task()).cancelled) continue;
    Warn(id, worker, run, std::nullopt, Cancelled(), now);
  }
}

void Dispatcher::CheckLimits(WorkerId id, Worker& worker, absl::Time now) {
  if (worker.warning.has_value()) {
    if (now < worker.warning->kill_at) return;
    worker.warning->kill_at = absl::InfiniteFuture();
    // A thread goes on.
    TakeBackAll(id, worker);
    Kill(id, worker);
  } else if (worker.running.has_value()) {
    InterruptLate(id, worker, now);
  }
}

// What it was to run after that runs elsewhere.
void Dispatcher::InterruptLate(WorkerId id, Worker& worker, absl::Time now) {
  const Run& run = *FindRun(worker, worker.running->item.run);
  const absl::Duration limit = tasks_.at(run.task()).spec.time_limit;
  if (now < worker.running->since + limit) return;
  Warn(id, worker, run, worker.running->item.item, Late(limit), now);
  TakeBackAll(id, worker);
}

void Dispatcher::NoteHeard(Worker& worker, absl::Time now) {
  worker.silent = false;
  AwaitWord(worker, now);
}

void Dispatcher::AwaitWord(Worker& worker, absl::Time now) {
  worker.unheard_since = now;
  worker.look_at = now + kPatience;
}

// One that does not begin what it has is stopped, or lacks a processor. Others
// get it, if there are any. What it has begun it keeps, for no longer than an
// item may take.
void Dispatcher::CheckSilence(WorkerId id, Worker& worker, absl::Time now) {
  if (worker.ending || !IsSilent(worker) || now < worker.look_at) return;
  worker.look_at = now + kPatience;
  worker.silent = true;
  // Those that have nothing to say by now may go on again.
  for (auto& [other_id, other] : workers_) {
    if (other.runs.empty()) other.silent = false;
  }
  if (AnyoneIsHeard()) TakeBackAll(id, worker);
  if (worker.runs.empty()) return;
  const Run& run = worker.runs.front();
  const absl::Duration limit = tasks_.at(run.task()).spec.time_limit;
  if (now < worker.unheard_since + kPatience + limit) return;
  worker.warning =
      Warning{run.id(), std::nullopt, Late(limit), absl::InfiniteFuture()};
  Kill(id, worker);
}

bool Dispatcher::AnyoneIsHeard() const {
  return std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    const Worker& worker = entry.second;
    return worker.ready && !worker.ending && !worker.silent;
  });
}

void Dispatcher::Break(const absl::Status& why) {
  broken_ = why;
  SettleAll(why);
  for (auto& [id, worker] : workers_) Retire(id, worker);
}

}  // namespace mp::internal
