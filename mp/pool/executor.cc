#include "mp/pool/executor.h"

#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/hold_across_forks.h"

namespace mp {
namespace {

// The executors of this process that it waits for at its exit: what was
// submitted is done, as in CPython, also if nobody has waited.
class UnfinishedExecutors {
 public:
  static UnfinishedExecutors& Get() {
    static auto* const unfinished = new UnfinishedExecutors;
    return *unfinished;
  }

  void Add(const std::shared_ptr<internal::Engine>& engine) {
    if (NoteFirst()) {
      // Before pools may no longer start workers.
      at_exit_ = Finalizer([this] { Finish(); }, /*exit_priority=*/1);
    }
    const ForkSafeLock lock(mutex_);
    std::erase_if(engines_, [](const auto& known) { return known.expired(); });
    engines_.push_back(engine);
  }

 private:
  UnfinishedExecutors() { internal::HoldAcrossForks(mutex_); }

  // Of this process, which may be a forked one.
  bool NoteFirst() {
    const ForkSafeLock lock(mutex_);
    if (process_ == getpid()) return false;
    process_ = getpid();
    engines_.clear();
    return true;
  }

  void Finish() {
    std::vector<std::weak_ptr<internal::Engine>> engines;
    {
      const ForkSafeLock lock(mutex_);
      engines.swap(engines_);
    }
    for (const auto& known : engines) {
      const std::shared_ptr<internal::Engine> engine = known.lock();
      if (engine == nullptr) continue;
      engine->Close();
      engine->Join(absl::InfiniteDuration()).IgnoreError();
    }
  }

  ForkSafeMutex mutex_;
  pid_t process_ ABSL_GUARDED_BY(mutex_) = 0;
  Finalizer at_exit_;  // belongs to the first
  std::vector<std::weak_ptr<internal::Engine>> engines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<Executor> Executor::Create(const ExecutorOptions& options) {
  PoolOptions pool_options;
  pool_options.processes = options.max_workers;
  pool_options.min_processes = 0;
  pool_options.idle_timeout = options.idle_timeout;
  pool_options.context = options.context;
  pool_options.initializer = options.initializer;
  pool_options.max_tasks_per_child = options.max_tasks_per_child;
  pool_options.name = options.name;
  MP_ASSIGN_OR_RETURN(Pool pool, Pool::Create(pool_options));
  UnfinishedExecutors::Get().Add(pool.engine_);
  return Executor(std::move(pool));
}

Executor& Executor::operator=(Executor&& other) noexcept {
  Executor old(std::move(*this));
  pool_ = std::move(other.pool_);
  waits_ = other.waits_;
  return *this;
}

Executor::~Executor() {
  if (pool_.engine_ == nullptr) return;
  if (waits_) Shutdown().IgnoreError();
  pool_.engine_.reset();  // so that Pool does not terminate what is under way
}

absl::Status Executor::Shutdown(const ShutdownOptions& options) {
  pool_.engine_->Close();
  if (options.cancel_futures) pool_.engine_->CancelWaiting();
  if (options.wait) return pool_.Join(options.timeout);
  waits_ = false;
  return absl::OkStatus();
}

absl::StatusOr<Executor> ThreadPoolExecutor::Create(ExecutorOptions options) {
  options.context = StartMethod::kThread;
  return Executor::Create(options);
}

}  // namespace mp
