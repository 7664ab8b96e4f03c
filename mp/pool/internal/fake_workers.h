#ifndef MP_POOL_INTERNAL_FAKE_WORKERS_H_
#define MP_POOL_INTERNAL_FAKE_WORKERS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/pool/internal/carrier.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/launcher.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// How unkind a world of FakeWorkers is: chances of one step, in percent.
struct FakeWorld {
  int death = 0;           // of a worker, running or not
  int start_failure = 0;   // that Start() fails
  int refusal = 0;         // that an initializer fails
  int full = 0;            // that Send() says "not now"
  int narrow = 0;          // that it takes only some
  int lost_event = 0;      // that an event never comes
  int repeated_event = 0;  // that it comes twice
  int stuck_item = 0;      // that an item never ends by itself
  int deaf = 0;            // that an interrupt is not heeded
};

// Workers that live in this test alone: a Launcher and a Carrier whose events
// come in an order that a seed decides.
//
// Example:
//   FakeWorkers workers(FakeWorld{.death = 1}, seed);
//   Dispatcher dispatcher(options, workers, workers, sink);
//   while (!dispatcher.finished()) workers.Step(dispatcher);
class FakeWorkers : public Launcher, public Carrier {
 public:
  FakeWorkers(const FakeWorld& world, uint64_t seed)
      : world_(world), random_(seed) {}

  // Lets something happen: a worker does something, an event arrives, or time
  // goes by.
  void Step(Dispatcher& dispatcher);

  absl::Time now() const { return now_; }
  bool Chance(int percent) { return Below(100) < percent; }
  int Below(int limit) {
    return std::uniform_int_distribution<int>(0, limit - 1)(random_);
  }

  // How often an item was begun, and how often its worker was lost meanwhile.
  int Runs(TaskItem item) const;
  int Deaths(TaskItem item) const;
  bool WasStuck(TaskItem item) const { return stuck_.contains(Key(item)); }
  int most_alive() const { return most_alive_; }

  // Launcher and Carrier.
  absl::Status Start(WorkerId worker) override;
  void Retire(WorkerId worker) override;
  void Kill(WorkerId worker) override;
  absl::StatusOr<uint64_t> Send(WorkerId worker, RunId run,
                                const TaskSpec& spec, ItemRange items) override;
  uint64_t Recall(WorkerId worker, RunId run, uint64_t from) override;
  void Interrupt(WorkerId worker, RunId run,
                 std::optional<uint64_t> item) override;

 private:
  using ItemKey = std::pair<TaskId, uint64_t>;
  static ItemKey Key(TaskItem item) { return {item.task, item.item}; }

  struct Sent {
    RunId run;
    TaskId task;
    uint64_t next;
    uint64_t end;

    TaskItem item() const { return {task, next}; }
  };
  struct Worker {
    bool ready = false;
    bool retired = false;
    bool alive = true;
    bool running = false;      // the next item of the first run
    bool interrupted = false;  // to give up its item
    bool leaves = false;       // and the rest of that run
    std::deque<Sent> sent;
    std::deque<std::function<void(Dispatcher&)>> events;
  };

  void Act(WorkerId id, Worker& worker);
  void Begin(WorkerId id, Worker& worker);
  void EndItem(WorkerId id, Worker& worker);
  void EndRun(WorkerId id, Worker& worker);
  void Die(WorkerId id, Worker& worker, const absl::Status& why);
  void Deliver(Worker& worker, Dispatcher& dispatcher);
  void Say(Worker& worker, std::function<void(Dispatcher&)> event);

  const FakeWorld world_;
  std::mt19937_64 random_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  std::map<WorkerId, Worker> workers_;
  std::map<ItemKey, int> runs_;
  std::map<ItemKey, int> deaths_;
  std::set<ItemKey> stuck_;
  int most_alive_ = 0;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_FAKE_WORKERS_H_
