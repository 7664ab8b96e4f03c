#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/run.h"
#include "mp/pool/internal/task.h"

// Which worker gets what. What becomes of it is in dispatcher.cc.

namespace mp::internal {
namespace {

constexpr absl::Duration kStartPause = absl::Milliseconds(100);

// How many workers that somebody kills say as much of the next one's fate as one
// that ends by itself.
constexpr int kKillsOfADeath = 5;

// Between them lies how long a run takes where its length can be chosen: long
// enough that sending it costs nothing beside, and no longer.
constexpr absl::Duration kShortRun = absl::Microseconds(200);
constexpr absl::Duration kLongRun = absl::Milliseconds(1);

}  // namespace

void Dispatcher::Advance(absl::Time now) {
  SendRuns(now);
  StartWorkers(now);
  Rebalance(now);
  RetireSurplus();
  NoteIdle(now);
}

// Has what is less urgent than a new task wait, if no worker has begun it.
void Dispatcher::Preempt(int priority) {
  for (auto& [id, worker] : workers_) {
    for (size_t i = worker.runs.size(); i-- > 0;) {
      const TaskId task = worker.runs[i].task();
      if (tasks_.at(task).spec.priority >= priority) continue;
      Return(task, TakeBack(id, worker, i, 0));
    }
  }
}

void Dispatcher::SendRuns(absl::Time now) {
  absl::flat_hash_set<WorkerId> full;
  while (!queue_.empty()) {
    const WorkerId id = WorkerFor(full);
    if (id == 0) return;
    if (!SendFirst(id, workers_.at(id), now)) full.insert(id);
  }
}

// Sends the first items of the queue. False if the worker takes none now.
bool Dispatcher::SendFirst(WorkerId id, Worker& worker, absl::Time now) {
  const TaskId task_id = queue_.begin()->second;
  const Task& task = tasks_.at(task_id);
  ItemRange items = task.waiting.ranges().front();
  items.end = items.first + std::min(items.size(), ItemsFor(worker, task.spec));
  const RunId run = ++last_run_;
  const absl::StatusOr<uint64_t> sent =
      carrier_.Send(id, run, task.spec, items);
  if (absl::IsUnavailable(sent.status())) return false;
  if (!sent.ok()) {
    SettleRange(task_id, Dequeue(task_id, 1), sent.status());
    return true;
  }
  if (worker.runs.empty()) {
    worker.run_began = now;
    AwaitWord(worker, now);
  }
  worker.runs.emplace_back(run, task_id, Dequeue(task_id, *sent));
  worker.idle_since = absl::InfiniteFuture();
  worker.given += ChunksOf(task.spec, *sent);
  if (options_.max_tasks_per_child > 0 &&
      worker.given >= options_.max_tasks_per_child) {
    Retire(id, worker);
  }
  return true;
}

// How many items a run is to have.
uint64_t Dispatcher::ItemsFor(const Worker& worker,
                              const TaskSpec& spec) const {
  int64_t chunks = worker.run_chunks;
  if (options_.max_tasks_per_child > 0) {
    const double left = options_.max_tasks_per_child - worker.given;
    chunks =
        std::clamp<int64_t>(static_cast<int64_t>(std::ceil(left)), 1, chunks);
  }
  // A chunk is no more than all items, of which there are no more than memory.
  return spec.chunk * static_cast<uint64_t>(chunks);
}

// The one that has least to do; 0 if all have enough. Those that are silent get
// something only if all are.
WorkerId Dispatcher::WorkerFor(
    const absl::flat_hash_set<WorkerId>& full) const {
  WorkerId best = 0;
  // Nothing waits at a worker while another one could be started for it.
  const bool may_wait = active_ >= options_.max_workers;
  const bool someone_is_heard = AnyoneIsHeard();
  const size_t window = may_wait ? static_cast<size_t>(options_.window) : 1;
  size_t least = window;
  for (const auto& [id, worker] : workers_) {
    if (!worker.ready || worker.ending || (worker.silent && someone_is_heard) ||
        worker.runs.size() >= least || full.contains(id)) {
      continue;
    }
    best = id;
    least = worker.runs.size();
  }
  return best;
}

// Has the next runs of a worker take neither too short nor too long.
void Dispatcher::NotePace(Worker& worker, absl::Time now) const {
  const absl::Duration took = now - worker.run_began;
  worker.run_began = now;
  if (took < kShortRun) {
    worker.run_chunks *= 2;
  } else if (took > kLongRun) {
    worker.run_chunks =
        static_cast<int64_t>(static_cast<double>(worker.run_chunks) *
                             absl::FDivDuration(kShortRun, took));
  }
  worker.run_chunks =
      std::clamp<int64_t>(worker.run_chunks, 1, options_.max_chunks_per_run);
}

// Lets one that has nothing to do have what waits at another.
void Dispatcher::Rebalance(absl::Time now) {
  while (queue_.empty()) {
    const WorkerId idle = WorkerFor({});
    if (idle == 0 || !workers_.at(idle).runs.empty()) return;
    const WorkerId loaded = MostLoaded();
    if (loaded == 0 || !Share(loaded, workers_.at(loaded))) return;
    if (!SendFirst(idle, workers_.at(idle), now)) return;
  }
}

// Has the last run of a worker wait, or half of its only one. False if it has
// begun all that.
bool Dispatcher::Share(WorkerId id, Worker& worker) {
  const Run& run = worker.runs.back();
  const TaskId task = run.task();
  const TaskSpec& spec = tasks_.at(task).spec;
  uint64_t from = 0;
  if (worker.runs.size() == 1) {
    const uint64_t grain = spec.keeps_chunks ? spec.chunk : 1;
    const uint64_t half = (run.end() - run.next() + 1) / 2;
    from = run.next() + (half + grain - 1) / grain * grain;
  }
  const ItemRange items = TakeBack(id, worker, worker.runs.size() - 1, from);
  Return(task, items);
  return !queue_.empty();
}

// The one with most to do besides what it is at; 0 if there is none.
WorkerId Dispatcher::MostLoaded() const {
  WorkerId most = 0;
  uint64_t items = 1;
  for (const auto& [id, worker] : workers_) {
    uint64_t its = 0;
    for (const Run& run : worker.runs) its += run.end() - run.next();
    if (its <= items) continue;
    most = id;
    items = its;
  }
  return most;
}

void Dispatcher::StartWorkers(absl::Time now) {
  while (broken_.ok() && Occupied() < Wanted() && now >= next_start_) {
    const WorkerId id = ++last_worker_;
    const absl::Status started = launcher_.Start(id);
    if (!started.ok()) return NoteStartFailure(started, now);
    workers_[id];
    ++active_;
  }
}

// A worker that ended before it ran anything says nothing of any task; the next
// one may fare better, but not for ever.
void Dispatcher::NoteStartFailure(const absl::Status& why, absl::Time now) {
  next_start_ = now + kStartPause * std::min(idle_deaths_ / kKillsOfADeath, 50);
  idle_deaths_ += absl::IsAborted(why) ? 1 : kKillsOfADeath;
  if (!broken_.ok()) return;
  // Nor will another one start.
  if (absl::IsFailedPrecondition(why)) return Break(why);
  if (idle_deaths_ <= kKillsOfADeath * options_.max_idle_deaths) return;
  Break(absl::UnavailableError(
      absl::StrCat("workers end, one after the other, before they have run "
                   "anything, the last one so: ",
                   why.message())));
}

void Dispatcher::NoteIdle(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    if (!worker.ready || !worker.runs.empty()) continue;
    worker.idle_since = std::min(worker.idle_since, now);
  }
}

void Dispatcher::RetireSurplus() {
  // Once closed, those that have work are enough.
  const int limit = closed_ && queue_.empty() ? Busy() : options_.max_workers;
  for (size_t most = 0; active_ > limit; ++most) {
    for (auto& [id, worker] : workers_) {
      if (active_ <= limit) return;
      if (!worker.ending && worker.runs.size() <= most) Retire(id, worker);
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
      [](const auto& entry) { return !entry.second.runs.empty(); }));
}

// Those that run something, or may yet.
int Dispatcher::Occupied() const {
  return static_cast<int>(
      std::count_if(workers_.begin(), workers_.end(), [](const auto& entry) {
        return !entry.second.ending || !entry.second.runs.empty();
      }));
}

// How many workers the tasks are good for, within the limits.
int Dispatcher::Wanted() const {
  int64_t useful = Busy();
  for (const auto& [priority, id] : queue_) {
    if (useful >= options_.max_workers) break;
    const Task& task = tasks_.at(id);
    useful += static_cast<int64_t>(
        std::ceil(ChunksOf(task.spec, task.waiting.size())));
  }
  const int64_t least = closed_ ? 0 : options_.min_workers;
  return static_cast<int>(std::clamp<int64_t>(
      useful, std::min<int64_t>(least, options_.max_workers),
      options_.max_workers));
}

}  // namespace mp::internal
