#include "mp/pool/pool.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/dispatcher.h"
#include "mp/pool/internal/engine.h"
#include "mp/pool/internal/local_worker.h"
#include "mp/pool/pool_options.h"
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

}  // namespace

absl::StatusOr<Pool> Pool::Create(const Options& options) {
  const int processes = options.processes.value_or(UsableCpuCount());
  MP_RETURN_IF_ERROR(CheckProcesses("Pool::Create", processes));
  if (options.max_tasks_per_child < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Pool::Create: max_tasks_per_child is ",
                     options.max_tasks_per_child, "; 0 is for no limit"));
  }
  internal::LocalWorkerOptions workers;
  workers.context = options.context;
  workers.name = options.name;
  if (options.initializer.call() != nullptr) {
    MP_ASSIGN_OR_RETURN(Parcel call,
                        internal::EncodeCall(*options.initializer.call()));
    workers.initializer = std::make_shared<const Parcel>(std::move(call));
  }
  MP_ASSIGN_OR_RETURN(std::shared_ptr<internal::Engine> engine,
                      internal::Engine::Start(
                          {.min_workers = processes,
                           .max_workers = processes,
                           .max_tasks_per_child = options.max_tasks_per_child},
                          std::move(workers)));
  return Pool(std::move(engine));
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
