#ifndef MP_POOL_INTERNAL_POOL_RECORDER_H_
#define MP_POOL_INTERNAL_POOL_RECORDER_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/trace_events.h"

namespace mp::internal {

// Makes insights and a trace of what an Engine hears of its workers.
//
// A worker runs in its order what it is sent, so an item begins when the one
// before it is done, or when it is sent to one that has nothing else.
//
// Threads: for one at a time.
class PoolRecorder {
 public:
  // `wall_offset` is added to times of its clock to have the time of day.
  PoolRecorder(bool traces, absl::Time now, absl::Duration wall_offset)
      : traces_(traces), epoch_(now), wall_offset_(wall_offset) {}

  // Of a worker, in this order, each once.
  void OnStarting(WorkerId id, std::string name, absl::Time now);
  void OnStarted(WorkerId id, std::optional<pid_t> pid);
  void OnReady(WorkerId id, absl::Duration initializing, absl::Time now);
  // `running` is what it was lost with, if that has failed for it.
  void OnEnded(WorkerId id, std::optional<RunItem> running,
               const absl::Status& how, absl::Time now);

  // Of a worker that is ready.
  void OnSent(WorkerId id, RunId run, const TaskSpec& spec, ItemRange items,
              absl::Time now);
  // The last so many items of a run.
  void OnRecalled(WorkerId id, RunId run, uint64_t items);
  void OnBegun(WorkerId id, absl::Time now);
  // Returns whether the worker is done with that run.
  bool OnDone(WorkerId id, RunItem item, const Outcome& outcome,
              absl::Time now);
  void OnRanAllUpTo(WorkerId id, RunId run);

  // But for `workers_lost`.
  PoolInsights Insights(absl::Time now) const;

  // Errors: those of WriteTraceFile().
  absl::Status WriteTrace(const std::string& path) const;

 private:
  struct Sent {
    RunId run;
    uint64_t first_index;  // of the task's first item
    FunctionId function;
    ItemRange left;  // those before have been recorded
  };
  struct Worker {
    WorkerInsights insights;  // its times are those of this clock
    std::optional<absl::Time> ready_at;
    absl::Time item_begun;
    std::deque<Sent> sent;
  };
  struct Slow {
    FunctionId function;
    uint64_t index;
    absl::Duration duration;
    std::string worker;
    std::string outcome;
  };

  static std::deque<Sent>::iterator FindRun(Worker& worker, RunId run);
  bool RecordItem(WorkerId id, Worker& worker, RunItem item,
                  const absl::Status& outcome, absl::Time now);
  void NoteIfSlow(const Worker& worker, const Sent& sent, uint64_t item,
                  absl::Duration duration, const absl::Status& outcome);
  WorkerInsights InsightsOf(const Worker& worker, absl::Time now) const;
  TraceEvents::Worker TraceOf(WorkerId id, const Worker& worker) const;

  const bool traces_;
  const absl::Time epoch_;
  const absl::Duration wall_offset_;
  std::map<WorkerId, Worker> workers_;
  std::deque<Worker> ended_;
  PoolInsights totals_;
  std::vector<Slow> slowest_;  // in their order
  TraceEvents trace_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_POOL_RECORDER_H_
