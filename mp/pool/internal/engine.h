#ifndef MP_POOL_INTERNAL_ENGINE_H_
#define MP_POOL_INTERNAL_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/pool/insights.h"
#include "mp/pool/internal/carrier.h"
#include "mp/pool/internal/cpu_pins.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/item_ranges.h"
#include "mp/pool/internal/launcher.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/internal/outcome.h"
#include "mp/pool/internal/pool_recorder.h"
#include "mp/pool/internal/progress_meter.h"
#include "mp/pool/internal/task.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/pool/progress.h"

namespace mp::internal {

// Hears what becomes of a task: of each item once, then of the end. Called by
// the pool's own thread, with nothing locked; may submit further tasks.
class TaskHandler {
 public:
  virtual ~TaskHandler() = default;
  // Of an item and those that follow it.
  virtual void OnOutcomes(uint64_t first, Outcomes outcomes) = 0;
  virtual void OnTaskEnd() {}
};

// What an Engine does besides, for people.
struct EngineOptions {
  // Told of calls that have no callback of their own. May be empty.
  ProgressCallback progress = nullptr;
  // Workers that have more bytes in memory after a task are replaced; 0 for no
  // limit.
  int64_t max_worker_memory = 0;
  // Which each worker gets one of. Empty: all workers run anywhere.
  std::vector<int> cpus = {};
  // Written when all workers have ended; see trace_events.h. Empty for none.
  std::string trace_file = "";
};

// A Dispatcher with workers on this host, and a thread that waits for what they
// say: all of a Pool that does not depend on types.
//
// Threads: safe from any.
// Fork:    of use in the process that made it only.
class Engine final : public Launcher, public Carrier, public OutcomeSink {
 public:
  // Starts the minimum of workers, and waits until each is ready, or fails.
  //
  // Errors:
  //   kFailedPrecondition  the initializer failed; processes cannot be started
  //                        here.
  //   kUnavailable         the workers die at once.
  static absl::StatusOr<std::shared_ptr<Engine>> Start(
      const DispatcherOptions& options, LocalWorkerOptions workers,
      EngineOptions extras = {});

  // Only after Join(), or from its own thread.
  ~Engine() override;

  // Errors: those of Dispatcher::Submit().
  absl::StatusOr<TaskId> Submit(TaskSpec spec,
                                std::shared_ptr<TaskHandler> handler);
  void Cancel(TaskId task);
  void CancelWaiting();
  void Resize(int min_workers, int max_workers);
  void Close();
  void Terminate();

  // Waits until all workers have ended.
  //
  // Errors:
  //   kDeadlineExceeded    they have not.
  //   kFailedPrecondition  neither Close() nor Terminate() was called; or it is
  //                        its own thread that asks.
  //   those of WriteTraceFile(), after they have ended.
  absl::Status Join(absl::Duration timeout);

  // What tasks say to call a function: the same for the same bytes, at least
  // for a while.
  JobId JobFor(const Parcel& function);
  // Whether a worker is at it.
  bool IsRunning(TaskId task);
  // Takes those out that have ended.
  void DropEnded(std::vector<TaskId>& tasks);
  int workers();
  int max_workers();
  std::vector<pid_t> pids();
  PoolInsights Insights();

  // Its clock, which does not jump.
  static absl::Time Now();

  // The meter of calls that have no other; null for none.
  const std::shared_ptr<ProgressMeter>& progress() const { return progress_; }
  // Has a meter tell what it has to until its calls have ended. Comes after the
  // begin of each.
  void Watch(std::shared_ptr<ProgressMeter> meter);

 private:
  struct Delivery {
    TaskId task;
    std::shared_ptr<TaskHandler> handler;
    uint64_t first;
    Outcomes outcomes;  // none: the task's end
  };
  // A task that the dispatcher has not got yet.
  struct Submitted {
    TaskId id;
    TaskSpec spec;
    std::shared_ptr<TaskHandler> handler;
  };
  using Workers = std::map<WorkerId, std::shared_ptr<LocalWorker>>;

  Engine(const DispatcherOptions& options, LocalWorkerOptions workers,
         EngineOptions extras, Fd wake);

  // Launcher, Carrier and OutcomeSink: called by the dispatcher.
  absl::Status Start(WorkerId worker) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Retire(WorkerId worker) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Kill(WorkerId worker) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> Send(WorkerId worker, RunId run,
                                const TaskSpec& spec, ItemRange items) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t Recall(WorkerId worker, RunId run, uint64_t from) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Interrupt(WorkerId worker, RunId run,
                 std::optional<uint64_t> item) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnOutcomes(TaskItem first, Outcomes outcomes) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTaskEnd(TaskId task) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static void WatchExit();
  absl::Status AwaitWorkers(int min_workers) ABSL_LOCKS_EXCLUDED(mutex_);
  void TakeIn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StopSubmissions(const absl::Status& why)
      ABSL_LOCKS_EXCLUDED(inbox_mutex_);
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void StartPending() ABSL_LOCKS_EXCLUDED(mutex_);
  void StartOne(WorkerId id, int number) ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver() ABSL_LOCKS_EXCLUDED(mutex_);
  void TellProgress() ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetRetiring(WorkerId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RetryRetire() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasMore() ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  static bool AnyHasMessage(const Workers& workers);
  absl::Time NextTime() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HearUntil(const Workers& workers, absl::Time until)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool AwaitMessage(const Workers& workers) const;
  void AwaitNews(const Workers& workers, absl::Time until)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Hear(WorkerId id, LocalWorker& worker, bool has_ended)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Handle(WorkerId id, FromWorker message, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pin(WorkerId id, const LocalWorker& worker)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckMemory(WorkerId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t HandleDone(WorkerId id, size_t at, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Bury(WorkerId id, LocalWorker& worker) ABSL_LOCKS_EXCLUDED(mutex_);
  // Reads the clock, once for each event.
  absl::Time Tick() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  LocalWorker* Find(WorkerId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake();

  const LocalWorkerOptions worker_options_;
  const int64_t max_worker_memory_;
  const std::string trace_file_;
  const std::shared_ptr<ProgressMeter> progress_;
  const Fd wake_;  // an eventfd

  absl::Mutex mutex_;

  // Whoever submits something waits for nobody: it goes in here, and whoever has
  // the other mutex takes it out.
  absl::Mutex inbox_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  std::vector<Submitted> inbox_ ABSL_GUARDED_BY(inbox_mutex_);
  TaskId last_task_ ABSL_GUARDED_BY(inbox_mutex_) = 0;
  absl::Status refusal_ ABSL_GUARDED_BY(inbox_mutex_);
  JobId last_job_ ABSL_GUARDED_BY(inbox_mutex_) = 0;
  absl::flat_hash_map<std::string, JobId> jobs_ ABSL_GUARDED_BY(inbox_mutex_);
  std::atomic<bool> inbox_is_filled_ = false;
  std::atomic<bool> loop_sleeps_ = false;

  Dispatcher dispatcher_ ABSL_GUARDED_BY(mutex_);
  PoolRecorder recorder_ ABSL_GUARDED_BY(mutex_);
  absl::Time now_ ABSL_GUARDED_BY(mutex_);  // of the event at hand
  CpuPins pins_ ABSL_GUARDED_BY(mutex_);
  Workers workers_ ABSL_GUARDED_BY(mutex_);
  std::vector<WorkerId> to_start_ ABSL_GUARDED_BY(mutex_);
  std::vector<WorkerId> to_kill_ ABSL_GUARDED_BY(mutex_);  // while starting
  // Could not be told so yet.
  std::vector<WorkerId> to_retire_ ABSL_GUARDED_BY(mutex_);
  std::vector<Delivery> deliveries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<TaskId, std::shared_ptr<TaskHandler>> handlers_
      ABSL_GUARDED_BY(mutex_);
  int started_ ABSL_GUARDED_BY(mutex_) = 0;
  int ready_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<ProgressMeter>> meters_ ABSL_GUARDED_BY(mutex_);
  absl::Status trace_status_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<FromWorker> heard_;  // the loop's, kept for its memory
  std::thread thread_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_ENGINE_H_
