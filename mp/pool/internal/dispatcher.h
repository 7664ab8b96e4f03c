#ifndef MP_POOL_INTERNAL_DISPATCHER_H_
#define MP_POOL_INTERNAL_DISPATCHER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/pool/internal/carrier.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/launcher.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/run.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// Hears of each item exactly once, and then once of its task's end. Does not
// call the Dispatcher.
class OutcomeSink {
 public:
  virtual ~OutcomeSink() = default;
  // Of an item and those that follow it.
  virtual void OnOutcomes(TaskItem first, Outcomes outcomes) = 0;
  virtual void OnTaskEnd(TaskId task) = 0;
};

struct DispatcherOptions {
  // How many workers there are at least, and at most when there is work.
  int min_workers = 1;
  int max_workers = 1;
  // How long one above the minimum may have nothing to do.
  absl::Duration idle_timeout = absl::InfiniteDuration();
  // How many runs a worker has at a time, so that it need not wait for the
  // next. What it has not begun is taken back for one that has nothing to do.
  int window = 2;
  // How many chunks a run has at most. It has one as long as that takes a while.
  int max_chunks_per_run = 1;
  // After how many chunks a worker is replaced; 0 for never.
  int max_tasks_per_child = 0;
  // How many workers in a row may end by themselves without having run anything;
  // five times as many may be killed (kAborted) by somebody else.
  int max_idle_deaths = 5;
};

// Decides which worker runs what, and what becomes of an item whose worker is
// lost, late or refuses: the part of a Pool that knows neither processes nor
// shared memory nor clocks. All of its state lies in this process; nothing that
// a worker does can leave it wrong.
//
// Example:
//   Dispatcher dispatcher(options, launcher, carrier, sink);
//   MP_ASSIGN_OR_RETURN(TaskId task, dispatcher.Submit({.items = 10}, now));
//   dispatcher.OnWorkerReady(1, now);               // as events come in
//   dispatcher.OnItemDone(1, {task, 0}, result, now);
//   dispatcher.OnTime(now);                         // at NextTime()
//
// Every item of a submitted task gets exactly one outcome. It is the item's
// own, or
//   kUnavailable       its worker was lost while it ran it, and no retry is
//                      left; or no worker can be started.
//   kDeadlineExceeded  it ran for longer than its limit. What it returned after
//                      its warning does not count.
//   kCancelled         Cancel() or Terminate() came before it had run.
//   kDataLoss          its worker has gone on to other things without a word
//                      of it.
//   kFailedPrecondition  the worker's initializer failed.
// An item that had not begun when its worker was lost runs elsewhere, and so does
// what a worker does not begin: as it is stopped, or as another one has nothing
// to do, or for a task of higher priority. Events of a worker that has ended, of
// items that have their outcome, or that come twice are no news.
//
// Each item without an outcome is in one place: it waits with its task, or it is
// part of one run of one worker. So none is lost, and none runs twice.
//
// Threads: for one at a time.
// Source:  CPython Lib/multiprocessing/pool.py, which it corrects: one lost
// worker costs one item.
class Dispatcher {
 public:
  // `launcher`, `carrier` and `sink` outlive it. The first call with a time
  // starts the minimum of workers.
  Dispatcher(const DispatcherOptions& options, Launcher& launcher,
             Carrier& carrier, OutcomeSink& sink)
      : options_(options),
        launcher_(launcher),
        carrier_(carrier),
        sink_(sink) {}

  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Errors:
  //   kFailedPrecondition  closed, or no worker works any more.
  //   kInvalidArgument     a task without items.
  absl::StatusOr<TaskId> Submit(TaskSpec spec, absl::Time now);
  // The same for one that has an id, larger than those of all before.
  absl::Status SubmitAs(TaskId id, TaskSpec spec, absl::Time now);

  // Has what has not run of a task not run, and warns what runs; after the
  // task's grace its worker is killed. Does nothing to one that has ended.
  void Cancel(TaskId task, absl::Time now);

  // Cancels what no worker has begun, and leaves alone what one has.
  void CancelWaiting(absl::Time now);

  // Changes how many workers there are. Those that are too many end when they
  // have run what they have.
  void Resize(int min_workers, int max_workers, absl::Time now);

  // Has another worker take the place of this one, which ends once it has run
  // what it is at.
  void Recycle(WorkerId worker, absl::Time now);

  // Takes no more tasks. The workers end once all have run.
  void Close(absl::Time now);

  // Takes no more tasks, cancels all there are and kills the workers.
  void Terminate(absl::Time now);

  // From the launcher and the carrier.
  void OnWorkerReady(WorkerId worker, absl::Time now);
  // Its initializer failed; as the next one's would, the pool is broken.
  void OnWorkerRefused(WorkerId worker, const absl::Status& why,
                       absl::Time now);
  // `running` is what it was at. A worker that somebody else has killed ended with
  // kAborted.
  void OnWorkerEnded(WorkerId worker, std::optional<RunItem> running,
                     const absl::Status& why, absl::Time now);
  void OnItemBegun(WorkerId worker, RunItem item, absl::Time now);
  void OnItemDone(WorkerId worker, RunItem item, Outcome outcome,
                  absl::Time now);
  // The same for this item and those that follow it, at less cost.
  void OnItemsDone(WorkerId worker, RunItem first, Outcomes outcomes,
                   absl::Time now);
  // It has nothing to do any more with what it was sent up to this run. What it
  // has not told of that is lost.
  void OnRanAllUpTo(WorkerId worker, RunId run, absl::Time now);

  // Does what is due. To be called at NextTime(); earlier does no harm.
  void OnTime(absl::Time now);
  absl::Time NextTime() const;

  // Whether it is closed, and no task and no worker is left.
  bool finished() const {
    return closed_ && tasks_.empty() && workers_.empty();
  }
  // Why nothing runs any more; OK as long as something may.
  const absl::Status& broken() const { return broken_; }

  // Whose items a run has; none if its worker has it no more.
  std::optional<TaskId> TaskOf(WorkerId worker, RunId run) const;

  int64_t tasks() const { return static_cast<int64_t>(tasks_.size()); }
  // Those that have not been told to end.
  int workers() const { return active_; }
  int max_workers() const { return options_.max_workers; }
  int64_t lost_workers() const { return lost_workers_; }

 private:
  struct Task {
    TaskSpec spec;
    uint64_t left;  // items without an outcome
    bool cancelled = false;
    ItemRanges waiting;                         // those of no worker
    absl::flat_hash_map<uint64_t, int> losses;  // how many workers an item took
  };

  struct Running {
    RunItem item;
    absl::Time since;
  };

  // A worker that was asked to give up what it runs.
  struct Warning {
    RunId run;
    std::optional<uint64_t> item;  // none: whatever it runs of that
    absl::Status verdict;          // for what it runs when it is killed
    absl::Time kill_at;

    bool IsFor(RunItem running) const {
      return run == running.run && item.value_or(running.item) == running.item;
    }
  };

  struct Worker {
    bool ready = false;
    bool ending = false;     // gets no more
    bool ran = false;        // anything at all
    double given = 0;        // chunks, ever
    int64_t run_chunks = 1;  // of the next run
    absl::Time run_began;    // or earlier: when the one before had ended
    absl::Time idle_since = absl::InfiniteFuture();
    // Since when it has had something to begin and has said nothing; when to
    // look whether it still does; and whether others have got it since then.
    absl::Time unheard_since = absl::InfiniteFuture();
    absl::Time look_at = absl::InfiniteFuture();
    bool silent = false;
    std::deque<Run> runs;
    std::optional<Running> running;
    std::optional<Warning> warning;
  };

  using Workers = absl::btree_map<WorkerId, Worker>;

  // What becomes of items. An outcome may end the task, and then it is gone.
  void Settle(TaskId id, uint64_t item, Outcome outcome);
  void SettleSome(TaskId id, uint64_t first, Outcomes outcomes);
  void EndRun(Worker& worker, absl::Time now);
  void SettleRange(TaskId id, ItemRange items, const absl::Status& status);
  void SettleWaiting(TaskId id, const absl::Status& status);
  void SettleLost(Worker& worker, RunItem item, const absl::Status& why);
  void SettleAll(const absl::Status& status);
  std::vector<TaskId> Ids() const;

  // Where items are.
  Worker* Find(WorkerId id);
  static Run* FindRun(Worker& worker, RunId run);
  void Enqueue(TaskId id, ItemRange items);
  ItemRange Dequeue(TaskId id, uint64_t items);
  void Return(TaskId id, ItemRange items);
  ItemRange TakeBack(WorkerId id, Worker& worker, size_t run, uint64_t from);
  bool TakeBackAll(WorkerId id, Worker& worker);
  static Run Remove(Worker& worker, size_t run);
  void Leave(Worker& worker);
  void LeaveAllBefore(Worker& worker, RunId run);

  // How long they may run.
  void Warn(WorkerId id, Worker& worker, const Run& run,
            std::optional<uint64_t> item, absl::Status verdict, absl::Time now);
  void WarnOfCancelled(absl::Time now);
  void CheckLimits(WorkerId id, Worker& worker, absl::Time now);
  void InterruptLate(WorkerId id, Worker& worker, absl::Time now);

  static void NoteHeard(Worker& worker, absl::Time now);
  static void AwaitWord(Worker& worker, absl::Time now);
  void CheckSilence(WorkerId id, Worker& worker, absl::Time now);
  static bool IsSilent(const Worker& worker) {
    return !worker.runs.empty() && !worker.running.has_value() &&
           !worker.warning.has_value();
  }

  // Has everything follow from what there is: workers and tasks.
  void Advance(absl::Time now);
  void Preempt(int priority);
  void SendRuns(absl::Time now);
  bool SendFirst(WorkerId id, Worker& worker, absl::Time now);
  bool IsSpent(const Worker& worker) const;
  void RecallUrgent(absl::Time now);
  uint64_t ItemsFor(const Worker& worker, const TaskSpec& spec) const;
  bool AnyoneIsHeard() const;
  WorkerId WorkerFor(const absl::flat_hash_set<WorkerId>& full) const;
  void NotePace(Worker& worker, absl::Time now) const;
  void Rebalance(absl::Time now);
  bool Share(WorkerId id, Worker& worker);
  static uint64_t Grain(const TaskSpec& spec);
  int64_t Movable(const Worker& worker) const;
  std::vector<WorkerId> ByLoad() const;
  void StartWorkers(absl::Time now);
  void NoteStartFailure(const absl::Status& why, absl::Time now);
  void NoteIdle(absl::Time now);
  void RetireSpent();
  void RetireSurplus();
  void RetireIdle(absl::Time now);
  void Retire(WorkerId id, Worker& worker);
  void Kill(WorkerId id, Worker& worker);
  int Busy() const;
  int Occupied() const;
  bool LacksWorkers() const;
  int Wanted() const;
  void Break(const absl::Status& why);

  DispatcherOptions options_;
  Launcher& launcher_;
  Carrier& carrier_;
  OutcomeSink& sink_;

  absl::flat_hash_map<TaskId, Task> tasks_;
  // Those with items that wait: by priority, highest first, then by age.
  absl::btree_set<std::pair<int64_t, TaskId>> queue_;
  Workers workers_;
  int active_ = 0;  // workers that are not ending
  TaskId last_task_ = 0;
  RunId last_run_ = 0;
  WorkerId last_worker_ = 0;
  bool closed_ = false;
  absl::Status broken_;
  int idle_deaths_ = 0;  // in a row, one that ends by itself as five
  absl::Time next_start_ = absl::InfinitePast();
  int64_t lost_workers_ = 0;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_DISPATCHER_H_
