#include "mp/pool/pool.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/cpu_pins.h"
#include "mp/pool/internal/cpu_share.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/pool_options.h"
#include "mp/process/context.h"
#include "mp/process/cpu_count.h"
#include "mp/process/internal/call.h"
#include "mp/process/parcel.h"

namespace mp {
namespace {

absl::Status CheckProcesses(absl::string_view operation, int processes) {
  if (processes >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      operation, ": ", processes, " processes; a pool has at least 1"));
}

// What cannot be had of threads.
absl::Status CheckProcessesOnly(const PoolOptions& options) {
  if (options.max_worker_memory < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Pool::Create: max_worker_memory is ",
                     options.max_worker_memory, "; 0 is for no limit"));
  }
  if (options.context.start_method() != StartMethod::kThread) {
    return absl::OkStatus();
  }
  if (options.max_worker_memory > 0 || options.pin_cpus) {
    return absl::InvalidArgumentError(
        "Pool::Create: max_worker_memory and pin_cpus are for processes; the "
        "workers are threads");
  }
  return absl::OkStatus();
}

// It is written at the end; what is wrong with it had better be known before.
absl::Status CheckTraceFile(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("Pool::Create: trace_file is \"", path,
                                         "\", in whose folder no file can be "
                                         "made"));
}

}  // namespace

absl::StatusOr<Pool> Pool::Create(const Options& options) {
  const int budget = internal::CpuShare().value_or(UsableCpuCount());
  const int processes = options.processes.value_or(budget);
  MP_RETURN_IF_ERROR(CheckProcesses("Pool::Create", processes));
  const int min_processes = options.min_processes.value_or(processes);
  if (min_processes < 0 || min_processes > processes) {
    return absl::InvalidArgumentError(
        absl::StrCat("Pool::Create: min_processes is ", min_processes,
                     "; 0 to the number of processes, ", processes));
  }
  if (options.max_tasks_per_child < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Pool::Create: max_tasks_per_child is ",
                     options.max_tasks_per_child, "; 0 is for no limit"));
  }
  MP_RETURN_IF_ERROR(CheckTraceFile(options.trace_file));
  MP_RETURN_IF_ERROR(CheckProcessesOnly(options));
  internal::LocalWorkerOptions workers;
  workers.context = options.context;
  workers.name = options.name;
  workers.cpu_share = std::max(1, budget / processes);
  if (options.initializer.call() != nullptr) {
    MP_ASSIGN_OR_RETURN(Parcel call,
                        internal::EncodeCall(*options.initializer.call()));
    workers.initializer = std::make_shared<const Parcel>(std::move(call));
  }
  MP_ASSIGN_OR_RETURN(
      std::shared_ptr<internal::Engine> engine,
      internal::Engine::Start(
          {.min_workers = min_processes,
           .max_workers = processes,
           .idle_timeout = options.idle_timeout,
           .max_chunks_per_run = options.max_worker_memory > 0 ? 1 : 1024,
           .max_tasks_per_child = options.max_tasks_per_child},
          std::move(workers),
          {.progress = options.progress,
           .max_worker_memory = options.max_worker_memory,
           .cpus =
               options.pin_cpus ? internal::AllowedCpus() : std::vector<int>(),
           .trace_file = options.trace_file}));
  return Pool(std::move(engine));
}

absl::StatusOr<Pool> ThreadPool::Create(PoolOptions options) {
  options.context = StartMethod::kThread;
  return Pool::Create(options);
}

Pool& Pool::operator=(Pool&& other) noexcept {
  std::swap(engine_, other.engine_);
  return *this;
}

Pool::~Pool() {
  if (engine_ == nullptr) return;
  engine_->Terminate();
  engine_->Join(absl::InfiniteDuration()).IgnoreError();
}

absl::Status Pool::Resize(int processes) {
  MP_RETURN_IF_ERROR(CheckProcesses("Pool::Resize", processes));
  engine_->Resize(processes, processes);
  return absl::OkStatus();
}

}  // namespace mp
