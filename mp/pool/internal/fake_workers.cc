#include "mp/pool/internal/fake_workers.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/task.h"
#include "mp/process/parcel.h"

namespace mp::internal {

void FakeWorkers::Step(Dispatcher& dispatcher) {
  if (workers_.empty() || Chance(10)) {
    now_ += absl::Milliseconds(Below(50));
    dispatcher.OnTime(now_);
    return;
  }
  auto chosen =
      std::next(workers_.begin(), Below(static_cast<int>(workers_.size())));
  Worker& worker = chosen->second;
  if (worker.alive && Chance(50)) {
    Act(chosen->first, worker);
  } else if (!worker.events.empty()) {
    Deliver(worker, dispatcher);
  }
  if (!worker.alive && worker.events.empty()) workers_.erase(chosen);
}

int FakeWorkers::Runs(TaskItem item) const {
  const auto found = runs_.find(Key(item));
  return found == runs_.end() ? 0 : found->second;
}

int FakeWorkers::Deaths(TaskItem item) const {
  const auto found = deaths_.find(Key(item));
  return found == deaths_.end() ? 0 : found->second;
}

absl::Status FakeWorkers::Start(WorkerId id) {
  if (Chance(world_.start_failure)) {
    return absl::ResourceExhaustedError("no processes left");
  }
  workers_[id];
  const auto alive =
      std::count_if(workers_.begin(), workers_.end(),
                    [](const auto& entry) { return entry.second.alive; });
  most_alive_ = std::max(most_alive_, static_cast<int>(alive));
  return absl::OkStatus();
}

void FakeWorkers::Retire(WorkerId id) { workers_.at(id).retired = true; }

void FakeWorkers::Kill(WorkerId id) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || !found->second.alive) return;
  Die(id, found->second, absl::UnavailableError("killed by SIGKILL"));
}

absl::StatusOr<uint64_t> FakeWorkers::Send(WorkerId id, RunId run,
                                           const TaskSpec& spec,
                                           ItemRange items) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || !found->second.alive || Chance(world_.full)) {
    return absl::UnavailableError("not now");
  }
  if (Chance(world_.narrow)) {
    const int size = static_cast<int>(items.size());
    items.end = items.first + 1 + static_cast<uint64_t>(Below(size));
  }
  // The payload of a fake task is its id.
  found->second.sent.push_back(
      {run, spec.payload->first_index, items.first, items.end});
  return items.size();
}

uint64_t FakeWorkers::Recall(WorkerId id, RunId run, uint64_t from) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || !found->second.alive) return 0;
  Worker& worker = found->second;
  for (size_t i = 0; i < worker.sent.size(); ++i) {
    Sent& sent = worker.sent[i];
    if (sent.run != run) continue;
    const uint64_t begun = i == 0 && worker.running ? 1 : 0;
    const uint64_t first = std::max(sent.next + begun, from);
    if (first >= sent.end) return 0;
    return std::exchange(sent.end, first) - first;
  }
  return 0;
}

void FakeWorkers::Interrupt(WorkerId id, RunId run,
                            std::optional<uint64_t> item) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || found->second.sent.empty()) return;
  Worker& worker = found->second;
  const Sent& sent = worker.sent.front();
  if (sent.run != run || Chance(world_.deaf)) return;
  if (item.has_value() && (!worker.running || sent.next != *item)) return;
  worker.interrupted = true;
  worker.leaves = !item.has_value();
}

void FakeWorkers::Act(WorkerId id, Worker& worker) {
  if (Chance(world_.death)) {
    Die(id, worker, absl::UnavailableError("killed by SIGSEGV"));
  } else if (!worker.ready) {
    if (Chance(world_.refusal)) {
      Say(worker, [this, id](Dispatcher& dispatcher) {
        dispatcher.OnWorkerRefused(id, absl::InternalError("no model"), now_);
      });
      return Die(id, worker, absl::OkStatus());
    }
    worker.ready = true;
    // That one comes for certain: without it the worker would have ended.
    worker.events.push_back([this, id](Dispatcher& dispatcher) {
      dispatcher.OnWorkerReady(id, now_);
    });
  } else if (worker.sent.empty()) {
    if (worker.retired) Die(id, worker, absl::OkStatus());
  } else if (worker.running) {
    EndItem(id, worker);
  } else {
    Begin(id, worker);
  }
}

void FakeWorkers::Begin(WorkerId id, Worker& worker) {
  const Sent& sent = worker.sent.front();
  if (worker.leaves || sent.next == sent.end) return EndRun(id, worker);
  const RunItem item = {sent.run, sent.next};
  worker.running = true;
  if (++runs_[Key(sent.item())] == 1 && Chance(world_.stuck_item)) {
    stuck_.insert(Key(sent.item()));
  }
  Say(worker, [this, id, item](Dispatcher& dispatcher) {
    dispatcher.OnItemBegun(id, item, now_);
  });
}

void FakeWorkers::EndItem(WorkerId id, Worker& worker) {
  Sent& sent = worker.sent.front();
  const RunItem item = {sent.run, sent.next};
  if (WasStuck(sent.item()) && !worker.interrupted) return;
  worker.running = false;
  worker.interrupted = worker.leaves;
  ++sent.next;
  const bool by_itself = Chance(50);
  Say(worker, [this, id, item, by_itself](Dispatcher& dispatcher) {
    Outcomes outcomes;
    outcomes.push_back(Parcel{absl::StrCat(item.item), {}});
    if (by_itself) {
      dispatcher.OnItemDone(id, item, std::move(outcomes.front()), now_);
    } else {
      dispatcher.OnItemsDone(id, item, std::move(outcomes), now_);
    }
  });
}

void FakeWorkers::EndRun(WorkerId id, Worker& worker) {
  const RunId run = worker.sent.front().run;
  worker.sent.pop_front();
  worker.interrupted = false;
  worker.leaves = false;
  // A carrier repeats it until it has been heard.
  worker.events.push_back([this, id, run](Dispatcher& dispatcher) {
    dispatcher.OnRanAllUpTo(id, run, now_);
  });
}

void FakeWorkers::Die(WorkerId id, Worker& worker, const absl::Status& why) {
  std::optional<RunItem> running;
  if (worker.running) {
    const Sent& sent = worker.sent.front();
    running = RunItem{sent.run, sent.next};
    ++deaths_[Key(sent.item())];
  }
  worker.alive = false;
  worker.events.push_back([this, id, running, why](Dispatcher& dispatcher) {
    dispatcher.OnWorkerEnded(id, running, why, now_);
  });
}

void FakeWorkers::Deliver(Worker& worker, Dispatcher& dispatcher) {
  const auto event = std::move(worker.events.front());
  worker.events.pop_front();
  event(dispatcher);
}

void FakeWorkers::Say(Worker& worker, std::function<void(Dispatcher&)> event) {
  if (Chance(world_.lost_event)) return;
  if (Chance(world_.repeated_event)) worker.events.push_back(event);
  worker.events.push_back(std::move(event));
}

}  // namespace mp::internal
