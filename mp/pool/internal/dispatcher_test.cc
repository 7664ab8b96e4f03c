#include "mp/pool/internal/dispatcher.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/pool/internal/fake_workers.h"
#include "mp/pool/internal/task.h"
#include "mp/testing/status_matchers.h"
#include "mp/testing/test_scale.h"

namespace mp::internal {
namespace {

using ::mp::testing::IsOk;
using ::mp::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Items = std::vector<std::pair<TaskId, uint64_t>>;

// Keeps what was told of each item.
class Told : public OutcomeSink {
 public:
  void OnOutcomes(TaskItem first, Outcomes outcomes) override {
    EXPECT_FALSE(ended_[first.task]) << "an outcome after its task's end";
    for (Outcome& outcome : outcomes) {
      all_[{first.task, first.item++}].push_back(std::move(outcome));
    }
  }
  void OnTaskEnd(TaskId task) override {
    EXPECT_FALSE(ended_[task]) << "a task has ended twice";
    ended_[task] = true;
  }

  bool HasEnded(TaskId task) const {
    const auto found = ended_.find(task);
    return found != ended_.end() && found->second;
  }
  size_t Count(TaskItem item) const {
    const auto found = all_.find({item.task, item.item});
    return found == all_.end() ? 0 : found->second.size();
  }
  const Outcome& Of(TaskItem item) const {
    return all_.at({item.task, item.item}).front();
  }

 private:
  std::map<std::pair<TaskId, uint64_t>, std::vector<Outcome>> all_;
  std::map<TaskId, bool> ended_;
};

// What a world is asked to do, and what it may come to.
struct Scenario {
  std::string name;
  FakeWorld world;
  DispatcherOptions options = {.min_workers = 3, .max_workers = 3};
  int tasks = 40;
  int items = 5;  // of a task, at most
  int retries = 0;
  absl::Duration time_limit = absl::InfiniteDuration();
  int cancel_percent = 0;
  bool resizes = false;
  bool recycles = false;
};

void PrintTo(const Scenario& scenario, std::ostream* out) {
  *out << scenario.name;
}

class DispatcherWorldTest : public ::testing::TestWithParam<Scenario> {};

// By which FakeWorkers know a task.
std::shared_ptr<const TaskPayload> PayloadOf(TaskId task) {
  auto payload = std::make_shared<TaskPayload>();
  payload->first_index = task;
  return payload;
}

// Runs a scenario with one seed.
class Play {
 public:
  Play(const Scenario& scenario, uint64_t seed)
      : scenario_(scenario),
        workers_(scenario.world, seed),
        dispatcher_(scenario.options, workers_, workers_, outcomes_) {}

  void Run() {
    while (submitted_ < scenario_.tasks) {
      if (workers_.Chance(30)) SubmitOne();
      if (workers_.Chance(scenario_.cancel_percent)) CancelOne();
      if (scenario_.resizes && workers_.Chance(5)) ResizeToAny();
      if (scenario_.recycles && workers_.Chance(20)) RecycleAny();
      workers_.Step(dispatcher_);
    }
    dispatcher_.Close(workers_.now());
    for (int step = 0; !dispatcher_.finished(); ++step) {
      ASSERT_LT(step, 1'000'000) << "it does not come to an end";
      workers_.Step(dispatcher_);
    }
  }

  void CheckAll() const {
    for (const auto& [task, items] : tasks_) {
      EXPECT_TRUE(outcomes_.HasEnded(task)) << task;
      for (uint64_t item = 0; item < items; ++item) Check({task, item});
    }
    if (!scenario_.resizes && !scenario_.recycles) {
      // Those that have been told to end may still be at their last task.
      EXPECT_LE(workers_.most_alive(), 2 * scenario_.options.max_workers + 1);
    }
  }

 private:
  void SubmitOne() {
    ++submitted_;
    const auto items =
        static_cast<uint64_t>(1 + workers_.Below(scenario_.items));
    const auto chunk = static_cast<uint64_t>(1 + workers_.Below(3));
    const absl::StatusOr<TaskId> task =
        dispatcher_.Submit({.items = items,
                            .chunk = chunk,
                            .keeps_chunks = workers_.Chance(50),
                            .priority = workers_.Below(3),
                            .retries = scenario_.retries,
                            .time_limit = scenario_.time_limit,
                            .grace = absl::Milliseconds(20),
                            .payload = PayloadOf(++last_task_)},
                           workers_.now());
    if (task.ok()) {
      tasks_[*task] = items;
    } else {
      EXPECT_FALSE(dispatcher_.broken().ok());
    }
  }

  // Those that have ended, or are to come, too.
  void RecycleAny() {
    dispatcher_.Recycle(static_cast<WorkerId>(workers_.Below(30)),
                        workers_.now());
  }

  void CancelOne() {
    if (tasks_.empty()) return;
    const auto task = static_cast<TaskId>(1 + workers_.Below(submitted_));
    cancelled_[task] = true;
    dispatcher_.Cancel(task, workers_.now());
  }

  void ResizeToAny() {
    const int least = workers_.Below(4);
    dispatcher_.Resize(least, 1 + least + workers_.Below(3), workers_.now());
  }

  void Check(TaskItem item) const {
    const std::string name =
        absl::StrCat("item ", item.item, " of task ", item.task);
    ASSERT_EQ(outcomes_.Count(item), 1u) << name;
    const Outcome& outcome = outcomes_.Of(item);
    const FakeWorld& world = scenario_.world;
    switch (outcome.status().code()) {
      case absl::StatusCode::kOk:
        EXPECT_EQ(outcome->bytes, absl::StrCat(item.item)) << name;
        EXPECT_GE(workers_.Runs(item), 1) << name;
        break;
      case absl::StatusCode::kUnavailable:
        if (!dispatcher_.broken().ok()) break;
        EXPECT_GE(workers_.Deaths(item), scenario_.retries + 1) << name;
        break;
      case absl::StatusCode::kDeadlineExceeded:
        EXPECT_LT(scenario_.time_limit, absl::InfiniteDuration()) << name;
        EXPECT_GE(workers_.Runs(item), 1) << name;
        break;
      case absl::StatusCode::kCancelled:
        EXPECT_TRUE(cancelled_.contains(item.task)) << name;
        break;
      case absl::StatusCode::kDataLoss:
        EXPECT_GT(world.lost_event, 0) << name;
        break;
      case absl::StatusCode::kFailedPrecondition:
        EXPECT_GT(world.refusal, 0) << name;
        break;
      default:
        ADD_FAILURE() << name << ": " << outcome.status();
    }
    if (world.lost_event > 0 ||
        scenario_.time_limit < absl::InfiniteDuration()) {
      return;
    }
    // It ran once, and once more for each worker that it took.
    EXPECT_LE(workers_.Runs(item), workers_.Deaths(item) + 1) << name;
    EXPECT_LE(workers_.Deaths(item), scenario_.retries + 1) << name;
  }

  const Scenario& scenario_;
  FakeWorkers workers_;
  Told outcomes_;
  Dispatcher dispatcher_;
  std::map<TaskId, uint64_t> tasks_;  // how many items each has
  std::map<TaskId, bool> cancelled_;
  int submitted_ = 0;
  TaskId last_task_ = 0;
};

TEST_P(DispatcherWorldTest, EachItemHasOneOutcome) {
  const uint64_t first = mp::testing::TestSeed();
  const int seeds = mp::testing::Scaled(/*usual=*/100, /*full=*/5000);
  for (uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("MP_TEST_SEED=", seed));
    Play play(GetParam(), seed);
    ASSERT_NO_FATAL_FAILURE(play.Run());
    play.CheckAll();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Worlds, DispatcherWorldTest,
    ::testing::Values(
        Scenario{.name = "Kind", .world = {}},
        Scenario{.name = "Deadly", .world = {.death = 5}},
        Scenario{
            .name = "DeadlyWithRetries", .world = {.death = 10}, .retries = 2},
        Scenario{.name = "Full", .world = {.full = 50}},
        Scenario{.name = "LongRuns",
                 .world = {.death = 2, .full = 20, .narrow = 30},
                 .options = {.min_workers = 3,
                             .max_workers = 3,
                             .max_chunks_per_run = 8},
                 .tasks = 20,
                 .items = 50},
        Scenario{.name = "Replacing",
                 .world = {.death = 1},
                 .options = {.min_workers = 2,
                             .max_workers = 4,
                             .max_tasks_per_child = 2}},
        Scenario{.name = "ForgetfulAndRepeating",
                 .world = {.death = 2, .lost_event = 10, .repeated_event = 20}},
        Scenario{.name = "Late",
                 .world = {.death = 1, .stuck_item = 10, .deaf = 50},
                 .time_limit = absl::Milliseconds(200)},
        Scenario{.name = "Cancelling",
                 .world = {.death = 1, .stuck_item = 1, .deaf = 50},
                 .time_limit = absl::Milliseconds(500),
                 .cancel_percent = 20},
        Scenario{.name = "Resizing",
                 .world = {.death = 1},
                 .options = {.min_workers = 0,
                             .max_workers = 3,
                             .idle_timeout = absl::Milliseconds(30)},
                 .resizes = true},
        Scenario{.name = "Recycling", .world = {}, .recycles = true},
        Scenario{.name = "DeadlyRecycling",
                 .world = {.death = 5, .full = 20},
                 .recycles = true},
        Scenario{.name = "HardToStart", .world = {.start_failure = 40}},
        Scenario{.name = "Refusing", .world = {.death = 1, .refusal = 3}},
        Scenario{.name = "Everything",
                 .world = {.death = 3,
                           .start_failure = 10,
                           .full = 20,
                           .lost_event = 5,
                           .repeated_event = 10,
                           .stuck_item = 5,
                           .deaf = 50},
                 .options = {.min_workers = 1,
                             .max_workers = 6,
                             .idle_timeout = absl::Milliseconds(50),
                             .max_chunks_per_run = 4,
                             .max_tasks_per_child = 3},
                 .retries = 1,
                 .time_limit = absl::Milliseconds(300),
                 .cancel_percent = 5,
                 .resizes = true}),
    [](const auto& info) { return info.param.name; });

// The same, one event at a time.
class DispatcherTest : public ::testing::Test {
 protected:
  class Workers : public Launcher, public Carrier {
   public:
    absl::Status Start(WorkerId worker) override {
      if (!start_error.ok()) return start_error;
      started.push_back(worker);
      return absl::OkStatus();
    }
    void Retire(WorkerId worker) override { retired.push_back(worker); }
    void Kill(WorkerId worker) override { killed.push_back(worker); }
    absl::StatusOr<uint64_t> Send(WorkerId worker, RunId run, const TaskSpec&,
                                  ItemRange items) override {
      if (!send_error.ok()) return send_error;
      items.end = std::min(items.end, items.first + most_items);
      sent.push_back({worker, run, items});
      runs[run] = items;
      return items.size();
    }
    uint64_t Recall(WorkerId, RunId run, uint64_t from) override {
      if (!recalls) return 0;
      ItemRange& items = runs.at(run);
      const uint64_t first = std::clamp(from, items.first, items.end);
      return std::exchange(items.end, first) - first;
    }
    void Interrupt(WorkerId worker, RunId, std::optional<uint64_t>) override {
      interrupted.push_back(worker);
    }

    absl::Status start_error;
    absl::Status send_error;
    uint64_t most_items = 1'000'000;  // of a run
    bool recalls = false;
    std::vector<WorkerId> started, retired, killed, interrupted;
    struct Sent {
      WorkerId worker;
      RunId run;
      ItemRange items;
    };
    std::vector<Sent> sent;
    std::map<RunId, ItemRange> runs;
  };

  static absl::Time At(int milliseconds) {
    return absl::UnixEpoch() + absl::Milliseconds(milliseconds);
  }

  // Who has got what last, of tasks that are not over.
  std::vector<std::pair<WorkerId, TaskId>> Sent(const Dispatcher& dispatcher,
                                                size_t last) const {
    std::vector<std::pair<WorkerId, TaskId>> sent;
    for (size_t i = workers_.sent.size() - last; i < workers_.sent.size();
         ++i) {
      const auto& [worker, run, items] = workers_.sent[i];
      sent.push_back({worker, dispatcher.TaskOf(worker, run).value_or(0)});
    }
    return sent;
  }

  Workers workers_;
  Told outcomes_;
  size_t done_runs_ = 0;
};

TEST_F(DispatcherTest, StartsItsMinimumAtOnceAndMoreWithTheWork) {
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 1, .max_workers = 3},
                        workers_, workers_, outcomes_);
  dispatcher.OnTime(At(0));
  EXPECT_EQ(workers_.started.size(), 1u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  }
  EXPECT_EQ(workers_.started.size(), 3u);
}

TEST_F(DispatcherTest, LostWorkerFailsOnlyWhatItRan) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.items = 3, .chunk = 3}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemBegun(1, {1, 0}, At(0));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{"a", {}}, At(1));
  dispatcher.OnItemBegun(1, {1, 1}, At(1));
  dispatcher.OnWorkerEnded(1, RunItem{1, 1},
                           absl::UnavailableError("killed by SIGSEGV"), At(2));
  EXPECT_THAT(outcomes_.Of({1, 1}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("SIGSEGV")));
  EXPECT_EQ(outcomes_.Count({1, 2}), 0u);
  dispatcher.OnTime(dispatcher.NextTime());
  dispatcher.OnWorkerReady(2, At(200));
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 1)));
  EXPECT_EQ(workers_.sent.back().items, (ItemRange{2, 3}));
}

TEST_F(DispatcherTest, PoisonousItemIsTriedNoMoreThanItMay) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.retries = 2}, At(0)), IsOk());
  for (WorkerId worker = 1; worker <= 3; ++worker) {
    EXPECT_EQ(outcomes_.Count({1, 0}), 0u);
    dispatcher.OnWorkerReady(worker, At(0));
    const RunItem item = {workers_.sent.back().run, 0};
    dispatcher.OnItemBegun(worker, item, At(0));
    dispatcher.OnWorkerEnded(worker, item, absl::UnavailableError("died"),
                             At(0));
  }
  EXPECT_THAT(outcomes_.Of({1, 0}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("2 before")));
}

TEST_F(DispatcherTest, WarnsOneThatIsLateAndThenKillsIt) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.time_limit = absl::Milliseconds(50),
                                 .grace = absl::Milliseconds(20)},
                                At(0)),
              IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemBegun(1, {1, 0}, At(10));
  EXPECT_EQ(dispatcher.NextTime(), At(60));
  dispatcher.OnTime(At(59));
  EXPECT_TRUE(workers_.interrupted.empty());
  dispatcher.OnTime(At(60));
  EXPECT_EQ(workers_.interrupted, std::vector<WorkerId>{1});
  EXPECT_EQ(dispatcher.NextTime(), At(80));
  dispatcher.OnTime(At(80));
  EXPECT_EQ(workers_.killed, std::vector<WorkerId>{1});
  dispatcher.OnWorkerEnded(1, RunItem{1, 0}, absl::UnavailableError("SIGKILL"),
                           At(81));
  EXPECT_THAT(outcomes_.Of({1, 0}),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("50ms")));
}

TEST_F(DispatcherTest, ResultAfterTheWarningDoesNotCount) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.time_limit = absl::Milliseconds(50)}, At(0)),
              IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemBegun(1, {1, 0}, At(0));
  dispatcher.OnTime(At(50));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{}, At(51));
  EXPECT_THAT(outcomes_.Of({1, 0}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  dispatcher.OnTime(At(5'000));
  EXPECT_TRUE(workers_.killed.empty());
}

TEST_F(DispatcherTest, RestartStormIsStopped) {
  Dispatcher dispatcher(DispatcherOptions{.max_idle_deaths = 3}, workers_,
                        workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  for (WorkerId worker = 1; worker <= 4; ++worker) {
    ASSERT_EQ(workers_.started.size(), worker);
    dispatcher.OnWorkerEnded(worker, std::nullopt,
                             absl::UnavailableError("no such library"), At(0));
    dispatcher.OnTime(dispatcher.NextTime());
  }
  EXPECT_EQ(workers_.started.size(), 4u);
  EXPECT_THAT(outcomes_.Of({1, 0}), StatusIs(absl::StatusCode::kUnavailable,
                                             HasSubstr("no such library")));
  EXPECT_THAT(dispatcher.Submit({}, At(0)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(dispatcher.NextTime(), absl::InfiniteFuture());
}

// Which says little of the next one's fate.
TEST_F(DispatcherTest, WorkersThatAreKilledAreNoRestartStorm) {
  Dispatcher dispatcher(DispatcherOptions{.max_idle_deaths = 3}, workers_,
                        workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  WorkerId worker = 1;
  for (; worker <= 15; ++worker) {
    ASSERT_EQ(workers_.started.size(), worker);
    dispatcher.OnWorkerEnded(worker, std::nullopt,
                             absl::AbortedError("killed by SIGKILL"), At(0));
    dispatcher.OnTime(dispatcher.NextTime());
  }
  EXPECT_THAT(dispatcher.broken(), IsOk());
  for (; dispatcher.broken().ok(); ++worker) {
    ASSERT_LE(worker, 17u) << "it goes on for ever";
    dispatcher.OnWorkerEnded(worker, std::nullopt,
                             absl::AbortedError("killed by SIGKILL"), At(0));
    dispatcher.OnTime(dispatcher.NextTime());
  }
}

TEST_F(DispatcherTest, FailingInitializerBreaksThePoolOnce) {
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.items = 2}, At(0)), IsOk());
  dispatcher.OnWorkerRefused(1, absl::NotFoundError("model.bin"), At(0));
  dispatcher.OnWorkerRefused(2, absl::NotFoundError("another"), At(0));
  EXPECT_THAT(
      outcomes_.Of({1, 1}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("model.bin")));
  EXPECT_EQ(workers_.started.size(), 2u);
}

TEST_F(DispatcherTest, IdleWorkerGetsWhatWaitsAtAnother) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  ASSERT_THAT(Sent(dispatcher, 2), ElementsAre(Pair(1, 1), Pair(1, 2)));
  dispatcher.OnWorkerReady(2, At(0));
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 2)));
}

// It is stopped, and nobody knows whether it will go on.
TEST_F(DispatcherTest, WhatAWorkerDoesNotBeginRunsElsewhere) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  dispatcher.OnTime(At(0));
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  }
  dispatcher.OnItemBegun(2, {2, 0}, At(1));
  dispatcher.OnTime(dispatcher.NextTime());
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 1)));
  dispatcher.OnItemDone(2, {2, 0}, Parcel{"a", {}}, At(2000));
  dispatcher.OnItemBegun(2, {workers_.sent.back().run, 0}, At(2000));
  // Nor does it get anything else.
  ASSERT_THAT(dispatcher.Submit({}, At(2000)), IsOk());
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 3)));
  EXPECT_TRUE(workers_.killed.empty());
}

TEST_F(DispatcherTest, WorkerThatStopsInsideAChunkIsKilledAfterItsLimit) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(
      dispatcher.Submit(
          {.items = 2, .chunk = 2, .time_limit = absl::Seconds(5)}, At(0)),
      IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemBegun(1, {1, 0}, At(0));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{"a", {}}, At(1));
  while (dispatcher.NextTime() < At(6000)) {
    dispatcher.OnTime(dispatcher.NextTime());
    EXPECT_TRUE(workers_.killed.empty());
  }
  dispatcher.OnTime(At(7000));
  EXPECT_EQ(workers_.killed, std::vector<WorkerId>{1});
  dispatcher.OnWorkerEnded(1, std::nullopt, absl::OkStatus(), At(7000));
  EXPECT_EQ(outcomes_.Count({1, 1}), 0u);  // its next worker runs it
  EXPECT_EQ(workers_.started.size(), 2u);
}

TEST_F(DispatcherTest, ItemThatStopsItsWorkerUnheardIsLate) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.time_limit = absl::Seconds(5)}, At(0)),
              IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  while (workers_.killed.empty()) dispatcher.OnTime(dispatcher.NextTime());
  dispatcher.OnWorkerEnded(
      1, RunItem{1, 0}, absl::UnavailableError("killed by SIGKILL"), At(7000));
  EXPECT_THAT(outcomes_.Of({1, 0}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(DispatcherTest, TasksOfHigherPriorityGoFirst) {
  Dispatcher dispatcher(DispatcherOptions{.window = 3}, workers_, workers_,
                        outcomes_);
  for (const int priority : {0, 5, 1}) {
    ASSERT_THAT(dispatcher.Submit({.priority = priority}, At(0)), IsOk());
  }
  dispatcher.OnWorkerReady(1, At(0));
  EXPECT_THAT(Sent(dispatcher, 3),
              ElementsAre(Pair(1, 2), Pair(1, 3), Pair(1, 1)));
}

TEST_F(DispatcherTest, WhatIsLessUrgentWaitsAgain) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  dispatcher.OnTime(At(0));
  dispatcher.OnWorkerReady(1, At(0));
  ASSERT_THAT(dispatcher.Submit({.items = 4, .chunk = 2}, At(0)), IsOk());
  ASSERT_THAT(dispatcher.Submit({.priority = 1}, At(0)), IsOk());
  EXPECT_THAT(Sent(dispatcher, 2), ElementsAre(Pair(1, 2), Pair(1, 1)));
}

TEST_F(DispatcherTest, IdleWorkerGetsHalfOfWhatIsLeftOfARun) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.items = 10, .chunk = 10}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{"a", {}}, At(0));
  dispatcher.OnItemDone(1, {1, 1}, Parcel{"b", {}}, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 1)));
  EXPECT_EQ(workers_.sent.back().items, (ItemRange{6, 10}));
}

TEST_F(DispatcherTest, ManyItemsAreDoneAtOnce) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.items = 10, .chunk = 10}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  const auto values = [](uint64_t first, uint64_t count) {
    Outcomes outcomes;
    for (uint64_t i = first; i < first + count; ++i) {
      outcomes.push_back(Parcel{absl::StrCat(i), {}});
    }
    return outcomes;
  };
  dispatcher.OnItemsDone(1, {1, 0}, values(0, 4), At(0));
  // Some of them again, and one that is no news to come.
  dispatcher.OnItemsDone(1, {1, 2}, values(2, 4), At(0));
  dispatcher.OnItemsDone(1, {7, 6}, values(6, 1), At(0));
  EXPECT_FALSE(outcomes_.HasEnded(1));
  dispatcher.OnItemsDone(1, {1, 6}, values(6, 9), At(0));
  for (uint64_t item = 0; item < 10; ++item) {
    ASSERT_EQ(outcomes_.Count({1, item}), 1u) << item;
    EXPECT_EQ(outcomes_.Of({1, item})->bytes, absl::StrCat(item));
  }
  EXPECT_TRUE(outcomes_.HasEnded(1));
}

TEST_F(DispatcherTest, ChunksThatAreAskedForStayTogether) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit(
                  {.items = 10, .chunk = 10, .keeps_chunks = true}, At(0)),
              IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  EXPECT_EQ(workers_.sent.size(), 1u);
}

// Sending takes as long as many of them.
TEST_F(DispatcherTest, RunsOfShortItemsBecomeLonger) {
  Dispatcher dispatcher(DispatcherOptions{.max_chunks_per_run = 16}, workers_,
                        workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.items = 1000}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  const auto run_all = [&](absl::Time end) {
    const auto [worker, run, items] = workers_.sent[done_runs_++];
    for (uint64_t item = items.first; item < items.end; ++item) {
      dispatcher.OnItemDone(worker, {run, item}, Parcel{"a", {}}, end);
    }
  };
  for (int i = 0; i < 8; ++i) run_all(At(0));
  EXPECT_EQ(workers_.sent.back().items.size(), 16u);
  // And shorter again, once they take long.
  for (int i = 1; i <= 4; ++i) run_all(At(1000 * i));
  EXPECT_EQ(workers_.sent.back().items.size(), 1u);
}

TEST_F(DispatcherTest, WhatFollowsALateItemRunsElsewhere) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  const absl::Duration limit = absl::Milliseconds(50);
  ASSERT_THAT(
      dispatcher.Submit(
          {.items = 3, .chunk = 3, .keeps_chunks = true, .time_limit = limit},
          At(0)),
      IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  workers_.runs.at(1).first = 1;  // it has begun the item before
  dispatcher.OnItemBegun(1, {1, 0}, At(0));
  dispatcher.OnTime(At(50));
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 1)));
  EXPECT_EQ(workers_.sent.back().items, (ItemRange{1, 3}));
}

// The first is over, which nobody has heard of yet.
TEST_F(DispatcherTest, SecondRunOfACancelledTaskIsWarnedToo) {
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(
      dispatcher.Submit({.items = 2, .grace = absl::Milliseconds(20)}, At(0)),
      IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  ASSERT_THAT(Sent(dispatcher, 2), ElementsAre(Pair(1, 1), Pair(1, 1)));
  dispatcher.Cancel(1, At(0));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{"a", {}}, At(1));
  EXPECT_EQ(workers_.interrupted, (std::vector<WorkerId>{1, 1}));
  dispatcher.OnTime(At(21));
  EXPECT_EQ(workers_.killed, std::vector<WorkerId>{1});
  dispatcher.OnWorkerEnded(1, RunItem{2, 1}, absl::UnavailableError("killed"),
                           At(22));
  EXPECT_THAT(outcomes_.Of({1, 1}), StatusIs(absl::StatusCode::kCancelled));
}

// As a thread does, which goes on when it is killed.
TEST_F(DispatcherTest, WhatWaitsBehindWhatDoesNotEndRunsElsewhere) {
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({.grace = absl::ZeroDuration()}, At(0)),
              IsOk());
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  ASSERT_EQ(workers_.sent.size(), 2u);
  dispatcher.OnWorkerReady(2, At(0));
  dispatcher.Cancel(1, At(0));
  workers_.recalls = true;
  workers_.runs.at(1).first = 1;  // it has begun that
  dispatcher.OnTime(At(1));
  EXPECT_EQ(workers_.killed, std::vector<WorkerId>{1});
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 2)));
}

TEST_F(DispatcherTest, StartsWorkersForWhatWaitsAtOthers) {
  workers_.recalls = true;
  Dispatcher dispatcher(
      DispatcherOptions{
          .min_workers = 1, .max_workers = 2, .max_chunks_per_run = 16},
      workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnItemDone(1, {1, 0}, Parcel{"a", {}}, At(0));
  ASSERT_EQ(workers_.started.size(), 1u);
  ASSERT_THAT(dispatcher.Submit({.items = 4, .chunk = 4}, At(0)), IsOk());
  EXPECT_EQ(workers_.started.size(), 2u);
  dispatcher.OnWorkerReady(2, At(0));
  EXPECT_THAT(Sent(dispatcher, 1), ElementsAre(Pair(2, 2)));
}

TEST_F(DispatcherTest, ReplacesALostWorkerAfterCloseIfOthersHaveWorkForIt) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  ASSERT_THAT(dispatcher.Submit({.items = 4, .chunk = 4}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  dispatcher.Close(At(0));
  dispatcher.OnItemBegun(2, {1, 0}, At(0));
  dispatcher.OnWorkerEnded(2, RunItem{1, 0}, absl::UnavailableError("died"),
                           At(0));
  dispatcher.OnTime(dispatcher.NextTime());
  ASSERT_EQ(workers_.started.size(), 3u);
  dispatcher.OnWorkerReady(3, At(200));
  EXPECT_EQ(workers_.sent.back().worker, 3u);
}

TEST_F(DispatcherTest, WhatIsUrgentDoesNotWaitBehindALongItem) {
  workers_.recalls = true;
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  dispatcher.OnTime(At(0));
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.OnWorkerReady(2, At(0));
  ASSERT_THAT(dispatcher.Submit({.items = 9}, At(0)), IsOk());
  ASSERT_EQ(workers_.sent.size(), 4u);
  for (RunId run = 1; run <= 2; ++run) ++workers_.runs.at(run).first;  // begun
  ASSERT_THAT(dispatcher.Submit({.priority = 1}, At(0)), IsOk());
  const WorkerId first = workers_.sent[4].worker;
  ASSERT_EQ(dispatcher.TaskOf(first, workers_.sent[4].run), 2u);
  // The other one is done, again and again.
  const WorkerId other = 3 - first;
  for (int i = 0; i < 2; ++i) {
    for (size_t j = 0; j < workers_.sent.size(); ++j) {
      const auto [worker, run, items] = workers_.sent[j];
      if (worker != other) continue;
      dispatcher.OnItemDone(worker, {run, items.first}, Parcel{"a", {}},
                            At(20));
    }
  }
  const auto has_it = [&](const auto& sent) {
    return sent.worker == other && outcomes_.Count({2, 0}) == 1;
  };
  EXPECT_TRUE(std::any_of(workers_.sent.begin(), workers_.sent.end(), has_it));
}

// In whatever parts they come.
TEST_F(DispatcherTest, AWorkerRunsAsManyChunksAsItMay) {
  for (const uint64_t chunk : {6, 10, 25, 49, 103}) {
    Workers workers;
    Told told;
    Dispatcher dispatcher(DispatcherOptions{.max_tasks_per_child = 2}, workers,
                          workers, told);
    ASSERT_THAT(dispatcher.Submit({.items = 3 * chunk, .chunk = chunk}, At(0)),
                IsOk());
    workers.most_items = 1;
    dispatcher.OnWorkerReady(1, At(0));
    uint64_t done = 0;
    for (size_t i = 0; workers.retired.empty(); ++i) {
      ASSERT_LT(i, workers.sent.size());
      const auto [worker, run, items] = workers.sent[i];
      dispatcher.OnItemDone(worker, {run, items.first}, Parcel{}, At(0));
      ++done;
    }
    EXPECT_EQ(done, 2 * chunk);
  }
}

TEST_F(DispatcherTest, TaskThatCannotBeSentFailsAlone) {
  workers_.send_error = absl::InvalidArgumentError("too large");
  Dispatcher dispatcher(DispatcherOptions{}, workers_, workers_, outcomes_);
  ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  dispatcher.OnWorkerReady(1, At(0));
  EXPECT_THAT(outcomes_.Of({1, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(dispatcher.broken(), IsOk());
}

TEST_F(DispatcherTest, TerminateEndsAllAtOnce) {
  Dispatcher dispatcher(DispatcherOptions{.min_workers = 2, .max_workers = 2},
                        workers_, workers_, outcomes_);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_THAT(dispatcher.Submit({}, At(0)), IsOk());
  }
  dispatcher.OnWorkerReady(1, At(0));
  dispatcher.Terminate(At(0));
  EXPECT_THAT(outcomes_.Of({10'000, 0}),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(workers_.killed.size(), 2u);
  for (const WorkerId worker : {1, 2}) {
    dispatcher.OnWorkerEnded(worker, std::nullopt, absl::OkStatus(), At(1));
  }
  EXPECT_TRUE(dispatcher.finished());
  EXPECT_THAT(dispatcher.Submit({}, At(0)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace mp::internal
