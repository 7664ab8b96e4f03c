#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

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

constexpr double kRounding = 1e-6;

// How many workers that somebody kills say as much of the next one's fate as one
// that ends by itself.
constexpr int kKillsOfADeath = 5;

// Between them lies how long a run takes where its length can be chosen: long
// enough that sending it costs nothing beside, and no longer.
constexpr absl::Duration kShortRun = absl::Microseconds(200);
constexpr absl::Duration kLongRun = absl::Milliseconds(1);

// How long a run takes behind which others need not wait.
constexpr absl::Duration kStuck = absl::Milliseconds(10);

}  // namespace

void Dispatcher::Advance(absl::Time now) {
  SendRuns(now);
  Rebalance(now);
  RetireSpent();
  StartWorkers(now);
  RetireSurplus();
  NoteIdle(now);
  WarnOfCancelled(now);
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
    if (workers_.at(id).runs.empty()) RecallUrgent(now);
    if (!SendFirst(id, workers_.at(id), now)) full.insert(id);
  }
}

// Has what waits behind a long item wait in the queue instead, if it comes before
// all that is there.
void Dispatcher::RecallUrgent(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    if (now < worker.run_began + kStuck) continue;
    for (size_t i = worker.runs.size(); i-- > 1;) {
      const TaskId task = worker.runs[i].task();
      if (std::make_pair(-int64_t{tasks_.at(task).spec.priority}, task) >=
          *queue_.begin()) {
        continue;
      }
      Return(task, TakeBack(id, worker, i, 0));
    }
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
  return true;
}

// Whether it may run no more; but for the rounding of parts of chunks.
bool Dispatcher::IsSpent(const Worker& worker) const {
  return options_.max_tasks_per_child > 0 &&
         worker.given > options_.max_tasks_per_child - kRounding;
}

// How many items a run is to have.
uint64_t Dispatcher::ItemsFor(const Worker& worker,
                              const TaskSpec& spec) const {
  // A long run for one is none for those that could be started.
  int64_t chunks = active_ < options_.max_workers ? 1 : worker.run_chunks;
  if (options_.max_tasks_per_child > 0) {
    const double left = options_.max_tasks_per_child - worker.given;
    chunks = std::clamp<int64_t>(
        static_cast<int64_t>(std::ceil(left - kRounding)), 1, chunks);
  }
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
    if (!worker.ready || worker.ending || IsSpent(worker) ||
        (worker.silent && someone_is_heard) || worker.runs.size() >= least ||
        full.contains(id)) {
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
    for (const WorkerId loaded : ByLoad()) {
      if (Share(loaded, workers_.at(loaded))) break;
    }
    if (queue_.empty() || !SendFirst(idle, workers_.at(idle), now)) return;
  }
}

// Has the last run of a worker wait, or half of its only one. False if it has
// begun all that.
bool Dispatcher::Share(WorkerId id, Worker& worker) {
  const Run& run = worker.runs.back();
  const TaskId task = run.task();
  uint64_t from = 0;
  if (worker.runs.size() == 1) {
    const uint64_t grain = Grain(tasks_.at(task).spec);
    const uint64_t half = (run.end() - run.next() + 1) / 2;
    from = run.next() + (half + grain - 1) / grain * grain;
  }
  Return(task, TakeBack(id, worker, worker.runs.size() - 1, from));
  return !queue_.empty();
}

// How many items stay together.
uint64_t Dispatcher::Grain(const TaskSpec& spec) {
  return spec.keeps_chunks ? spec.chunk : 1;
}

// How many workers could be busy with what one has besides what it is at.
int64_t Dispatcher::Movable(const Worker& worker) const {
  int64_t grains = 0;
  for (const Run& run : worker.runs) {
    const uint64_t grain = Grain(tasks_.at(run.task()).spec);
    grains +=
        static_cast<int64_t>((run.end() - run.next() + grain - 1) / grain);
  }
  return std::max<int64_t>(grains - 1, 0);
}

// Those with something to share, the one with most of it first.
std::vector<WorkerId> Dispatcher::ByLoad() const {
  std::vector<std::pair<int64_t, WorkerId>> loads;
  for (const auto& [id, worker] : workers_) {
    if (const int64_t load = Movable(worker); load > 0) {
      loads.push_back({-load, id});
    }
  }
  std::sort(loads.begin(), loads.end());
  std::vector<WorkerId> ids;
  for (const auto& [load, id] : loads) ids.push_back(id);
  return ids;
}

void Dispatcher::StartWorkers(absl::Time now) {
  while (broken_.ok() && now >= next_start_ && LacksWorkers()) {
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

void Dispatcher::RetireSpent() {
  for (auto& [id, worker] : workers_) {
    if (worker.runs.empty() && IsSpent(worker)) Retire(id, worker);
  }
}

void Dispatcher::RetireSurplus() {
  // Once closed, those that there is work for are enough.
  const int limit = closed_ && queue_.empty() ? Wanted() : options_.max_workers;
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

bool Dispatcher::LacksWorkers() const {
  const int occupied = Occupied();
  return occupied < options_.max_workers && occupied < Wanted();
}

// How many workers the tasks are good for, within the limits.
int Dispatcher::Wanted() const {
  int64_t useful = Busy();
  for (const auto& [id, worker] : workers_) {
    if (useful >= options_.max_workers) break;
    useful += Movable(worker);
  }
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
