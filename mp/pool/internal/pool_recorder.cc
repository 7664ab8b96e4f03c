#include "mp/pool/internal/pool_recorder.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/trace_events.h"

namespace mp::internal {

void PoolRecorder::OnStarting(WorkerId id, std::string name, absl::Time now) {
  ++totals_.workers_started;
  Worker& worker = workers_[id];
  worker.insights.name = std::move(name);
  worker.insights.started_at = now;
}

void PoolRecorder::OnStarted(WorkerId id, std::optional<pid_t> pid) {
  workers_[id].insights.pid = pid;
}

void PoolRecorder::OnReady(WorkerId id, absl::Duration initializing,
                           absl::Time now) {
  Worker& worker = workers_[id];
  const absl::Duration all = now - worker.insights.started_at;
  worker.insights.initializing =
      std::clamp(initializing, absl::ZeroDuration(), all);
  worker.insights.starting = all - worker.insights.initializing;
  worker.ready_at = now;
}

void PoolRecorder::OnEnded(WorkerId id, std::optional<RunItem> running,
                           const absl::Status& how, absl::Time now) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  if (running.has_value()) RecordItem(id, worker, *running, how, now);
  worker.sent.clear();
  worker.insights.ended_at = now;
  worker.insights.how_it_ended = std::string(how.message());
  if (traces_) trace_.AddWorker(TraceOf(id, worker));
  ended_.push_back(std::move(worker));
  if (ended_.size() > PoolInsights::kMaxEnded) ended_.pop_front();
  workers_.erase(found);
}

void PoolRecorder::OnSent(WorkerId id, RunId run, const TaskSpec& spec,
                          ItemRange items, absl::Time now) {
  Worker& worker = workers_[id];
  if (worker.sent.empty()) worker.item_begun = now;
  Sent sent{run, 0, {}, items};
  if (spec.payload != nullptr) {
    sent.first_index = spec.payload->first_index;
    sent.function = spec.payload->function_id;
    const auto bytes =
        static_cast<int64_t>(spec.payload->items.BytesOf(items).size());
    worker.insights.bytes_sent += bytes;
    totals_.bytes_sent += bytes;
  }
  worker.sent.push_back(sent);
}

void PoolRecorder::OnRecalled(WorkerId id, RunId run, uint64_t items) {
  Worker& worker = workers_[id];
  const auto sent = FindRun(worker, run);
  if (sent == worker.sent.end()) return;
  sent->left.end -= std::min(items, sent->left.size());
  if (sent->left.empty()) worker.sent.erase(sent);
}

void PoolRecorder::OnBegun(WorkerId id, absl::Time now) {
  workers_[id].item_begun = now;
}

bool PoolRecorder::OnDone(WorkerId id, RunItem item, const Outcome& outcome,
                          absl::Time now) {
  Worker& worker = workers_[id];
  if (outcome.ok()) {
    const auto bytes = static_cast<int64_t>(outcome->bytes.size());
    worker.insights.bytes_received += bytes;
    totals_.bytes_received += bytes;
  }
  return RecordItem(id, worker, item, outcome.status(), now);
}

void PoolRecorder::OnRanAllUpTo(WorkerId id, RunId run) {
  Worker& worker = workers_[id];
  const auto sent = FindRun(worker, run);
  if (sent == worker.sent.end()) return;
  worker.sent.erase(worker.sent.begin(), sent + 1);
}

std::deque<PoolRecorder::Sent>::iterator PoolRecorder::FindRun(Worker& worker,
                                                               RunId run) {
  return std::find_if(worker.sent.begin(), worker.sent.end(),
                      [run](const Sent& sent) { return sent.run == run; });
}

bool PoolRecorder::RecordItem(WorkerId id, Worker& worker, RunItem item,
                              const absl::Status& outcome, absl::Time now) {
  const auto sent = FindRun(worker, item.run);
  if (sent == worker.sent.end() || item.item < sent->left.first ||
      item.item >= sent->left.end) {
    return false;
  }
  sent->left.first = item.item + 1;
  const absl::Duration duration =
      std::max(now - worker.item_begun, absl::ZeroDuration());
  ++worker.insights.items;
  ++totals_.items;
  if (!outcome.ok()) {
    ++worker.insights.failed;
    ++totals_.failed;
  }
  worker.insights.working += duration;
  NoteIfSlow(worker, *sent, item.item, duration, outcome);
  if (traces_) {
    trace_.AddItem({id, item, sent->function, sent->first_index + item.item,
                    worker.item_begun, duration, outcome.code()});
  }
  worker.item_begun = now;
  if (!sent->left.empty()) return false;
  worker.sent.erase(worker.sent.begin(), sent + 1);
  return true;
}

void PoolRecorder::NoteIfSlow(const Worker& worker, const Sent& sent,
                              uint64_t item, absl::Duration duration,
                              const absl::Status& outcome) {
  const bool is_full = slowest_.size() == PoolInsights::kMaxSlowest;
  if (is_full && duration <= slowest_.back().duration) return;
  if (is_full) slowest_.pop_back();
  const auto faster =
      std::find_if(slowest_.begin(), slowest_.end(),
                   [&](const Slow& slow) { return slow.duration < duration; });
  slowest_.insert(faster, {sent.function, sent.first_index + item, duration,
                           worker.insights.name, outcome.ToString()});
}

PoolInsights PoolRecorder::Insights(absl::Time now) const {
  PoolInsights insights = totals_;
  for (const Worker& worker : ended_) {
    insights.workers.push_back(InsightsOf(worker, now));
  }
  for (const auto& [id, worker] : workers_) {
    insights.workers.push_back(InsightsOf(worker, now));
  }
  std::stable_sort(insights.workers.begin(), insights.workers.end(),
                   [](const WorkerInsights& a, const WorkerInsights& b) {
                     return a.started_at < b.started_at;
                   });
  for (const Slow& slow : slowest_) {
    insights.slowest.push_back({FunctionName(slow.function), slow.index,
                                slow.duration, slow.worker, slow.outcome});
  }
  return insights;
}

WorkerInsights PoolRecorder::InsightsOf(const Worker& worker,
                                        absl::Time now) const {
  WorkerInsights insights = worker.insights;
  const absl::Time until = insights.ended_at.value_or(now);
  if (!worker.sent.empty()) {
    insights.working += std::max(until - worker.item_begun,  // at one now
                                 absl::ZeroDuration());
  }
  if (worker.ready_at.has_value()) {
    insights.waiting = std::max(until - *worker.ready_at - insights.working,
                                absl::ZeroDuration());
  } else {
    insights.starting = until - insights.started_at;
  }
  insights.started_at += wall_offset_;
  if (insights.ended_at.has_value()) *insights.ended_at += wall_offset_;
  return insights;
}

TraceEvents::Worker PoolRecorder::TraceOf(WorkerId id,
                                          const Worker& worker) const {
  const WorkerInsights& insights = worker.insights;
  TraceEvents::Worker trace{.id = id,
                            .name = insights.name,
                            .pid = insights.pid,
                            .started = insights.started_at,
                            .starting = std::nullopt,
                            .initializing = insights.initializing,
                            .ended = insights.ended_at,
                            .how_it_ended = insights.how_it_ended};
  if (worker.ready_at.has_value()) trace.starting = insights.starting;
  return trace;
}

absl::Status PoolRecorder::WriteTrace(const std::string& path) const {
  if (workers_.empty()) return WriteTraceFile(path, trace_, epoch_);
  TraceEvents trace = trace_;
  for (const auto& [id, worker] : workers_) {
    trace.AddWorker(TraceOf(id, worker));
  }
  return WriteTraceFile(path, trace, epoch_);
}

}  // namespace mp::internal
