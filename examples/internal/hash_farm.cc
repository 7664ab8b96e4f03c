#include "examples/internal/hash_farm.h"

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "examples/internal/farm_worker.h"
#include "examples/internal/file_list.h"
#include "examples/internal/sha256_file.h"
#include "examples/internal/work_queue.h"
#include "mp/base/deadline.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace examples {
namespace {

// A batch is small enough to keep all workers busy to the end, and large enough
// to make its message cheap.
constexpr size_t kMaxBatchFiles = 32;
constexpr size_t kBatchesPerWorker = 8;
constexpr uint64_t kMaxBatchBytes = uint64_t{1} << 20;

// While a worker has less than this to do, its next batch waits in its pipe.
constexpr size_t kBatchesInFlight = 2;
constexpr uint64_t kBytesInFlight = uint64_t{32} << 20;

// So many workers in a row may end before they have begun.
constexpr int kMaxFalseStarts = 5;

constexpr absl::Duration kTick = absl::Milliseconds(100);

size_t BatchFiles(size_t files, size_t workers) {
  return std::clamp<size_t>(files / (workers * kBatchesPerWorker), 1,
                            kMaxBatchFiles);
}

class HashFarm {
 public:
  HashFarm(const std::vector<ListedFile>& files, const HashFarmOptions& options)
      : files_(files),
        context_(options.context),
        wanted_workers_(
            std::min(files.size(), static_cast<size_t>(options.processes))),
        queue_(files,
               BatchFiles(files.size(), std::max<size_t>(wanted_workers_, 1)),
               kMaxBatchBytes),
        results_(files.size()) {}

  // Lets the workers work until there is news of them, or `deadline`.
  absl::Status Step(const mp::Deadline& deadline) {
    MP_RETURN_IF_ERROR(StartWorkers());
    Feed();
    std::vector<pollfd> fds = Descriptors();
    MP_RETURN_IF_ERROR(mp::PollUntil(absl::MakeSpan(fds), deadline).status());
    for (size_t i = workers_.size(); i-- > 0;) {
      const bool has_news = fds[2 * i].revents != 0;
      const bool has_ended = fds[2 * i + 1].revents != 0;
      if ((has_news || has_ended) && !Collect(*workers_[i], has_ended)) Bury(i);
    }
    return absl::OkStatus();
  }

  // Returns the result of a file, once it is there.
  const std::optional<absl::StatusOr<Sha256Digest>>& result(size_t file) const {
    return results_[file];
  }

  uint64_t done_bytes() const { return done_bytes_; }

  void DismissWorkers() {
    for (const auto& worker : workers_) worker->Dismiss();
    for (const auto& worker : workers_) worker->End();
    workers_.clear();
  }

 private:
  // Fills the gaps that the dead have left. With some workers alive it is no
  // error if there can be no more.
  absl::Status StartWorkers() {
    while (!queue_.empty() && workers_.size() < wanted_workers_) {
      if (false_starts_ >= kMaxFalseStarts) {
        if (!workers_.empty()) return absl::OkStatus();
        return absl::UnavailableError(
            absl::StrCat(false_starts_,
                         " workers in a row ended before they had begun; the "
                         "last one ",
                         last_end_));
      }
      absl::StatusOr<std::unique_ptr<FarmWorker>> worker =
          FarmWorker::Start(context_, files_);
      if (!worker.ok()) {
        wanted_workers_ = std::max<size_t>(workers_.size(), 1);
        return workers_.empty() ? worker.status() : absl::OkStatus();
      }
      workers_.push_back(*std::move(worker));
    }
    return absl::OkStatus();
  }

  // Gives each worker a batch before any gets a second one.
  void Feed() {
    for (size_t batches = 0; batches < kBatchesInFlight; ++batches) {
      for (const auto& worker : workers_) {
        if (queue_.empty()) return;
        if (worker->unreported().size() > batches) continue;
        if (worker->unreported_bytes() > kBytesInFlight) continue;
        worker->Give(queue_.Take());
      }
    }
  }

  // What to poll: two for each worker.
  std::vector<pollfd> Descriptors() const {
    std::vector<pollfd> fds;
    for (const auto& worker : workers_) {
      const auto [connection, sentinel] = worker->descriptors();
      fds.push_back({connection, POLLIN, 0});
      fds.push_back({sentinel, POLLIN, 0});
    }
    return fds;
  }

  // Takes all that the worker has reported. Returns whether there can be more.
  bool Collect(FarmWorker& worker, bool has_ended) {
    absl::StatusOr<FarmWorker::Report> report = worker.NextReport();
    for (; report.ok(); report = worker.NextReport()) {
      false_starts_ = 0;
      done_bytes_ += report->content.bytes;
      if (report->content.result.has_value()) {
        results_[report->file] = *std::move(report->content.result);
      }
    }
    return absl::IsDeadlineExceeded(report.status()) && !has_ended;
  }

  // Takes note of what a worker that is gone leaves undone.
  void Bury(size_t index) {
    const std::unique_ptr<FarmWorker> worker = std::move(workers_[index]);
    workers_.erase(workers_.begin() + static_cast<ptrdiff_t>(index));
    last_end_ = worker->End();
    std::vector<FileRange> undone(worker->unreported().begin(),
                                  worker->unreported().end());
    if (!worker->has_begun()) {
      ++false_starts_;
    } else if (!undone.empty()) {
      results_[undone[0].begin++] = absl::UnavailableError(
          absl::StrCat("Not hashed: the worker ", last_end_));
    }
    for (size_t i = undone.size(); i-- > 0;) queue_.PutBack(undone[i]);
  }

  const std::vector<ListedFile>& files_;
  const mp::Context context_;
  size_t wanted_workers_;
  WorkQueue queue_;
  std::vector<std::optional<absl::StatusOr<Sha256Digest>>> results_;
  std::vector<std::unique_ptr<FarmWorker>> workers_;
  uint64_t done_bytes_ = 0;
  int false_starts_ = 0;  // in a row
  std::string last_end_;  // of a worker
};

using OnResult = absl::FunctionRef<absl::Status(
    size_t file, const absl::StatusOr<Sha256Digest>& digest)>;

// Hands out what there is from file `next` on, as there will be no more.
absl::Status GiveUp(const HashFarm& farm, size_t next, size_t files,
                    OnResult on_result, const absl::Status& error) {
  size_t missing = 0;
  for (; next < files; ++next) {
    if (farm.result(next).has_value()) {
      MP_RETURN_IF_ERROR(on_result(next, *farm.result(next)));
    } else {
      ++missing;
    }
  }
  return absl::Status(
      error.code(),
      absl::StrCat(missing, " files were not hashed: ", error.message()));
}

}  // namespace

absl::Status HashFiles(const std::vector<ListedFile>& files,
                       const HashFarmOptions& options, OnResult on_result,
                       absl::FunctionRef<absl::Status(uint64_t)> on_tick) {
  if (options.processes < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "processes is ", options.processes, ", at least 1 is needed"));
  }
  HashFarm farm(files, options);
  mp::Deadline next_tick(kTick);
  size_t next = 0;
  while (next < files.size()) {
    const absl::Status step = farm.Step(next_tick);
    if (!step.ok()) return GiveUp(farm, next, files.size(), on_result, step);
    for (; next < files.size() && farm.result(next).has_value(); ++next) {
      MP_RETURN_IF_ERROR(on_result(next, *farm.result(next)));
    }
    if (!next_tick.Expired()) continue;
    next_tick = mp::Deadline(kTick);
    MP_RETURN_IF_ERROR(on_tick(farm.done_bytes()));
  }
  farm.DismissWorkers();
  return absl::OkStatus();
}

}  // namespace examples
