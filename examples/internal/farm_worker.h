#ifndef EXAMPLES_INTERNAL_FARM_WORKER_H_
#define EXAMPLES_INTERNAL_FARM_WORKER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/internal/file_list.h"
#include "examples/internal/hash_worker.h"
#include "examples/internal/work_queue.h"
#include "mp/ipc/connection.h"
#include "mp/process/context.h"
#include "mp/process/process.h"

namespace examples {

// A worker as its owner sees it: a process, the connection to it and the files
// that it has been given and has not reported.
//
// Owns:    the process. The destructor kills it if it still runs; a thread it
//          waits for, which ends within 100 ms.
// Threads: not safe.
class FarmWorker {
 public:
  // Starts one. Errors are those of mp::Pipe() and mp::Process::Start().
  static absl::StatusOr<std::unique_ptr<FarmWorker>> Start(
      const mp::Context& context, const std::vector<ListedFile>& files);

  FarmWorker(const FarmWorker&) = delete;
  FarmWorker& operator=(const FarmWorker&) = delete;
  ~FarmWorker();

  // Gives it more files. It need not be alive: that is for NextReport() to say.
  void Give(FileRange batch);

  // Returns the next report if there is one.
  //
  // Errors:
  //   kDeadlineExceeded  there is none yet.
  //   Any other          there will be none: the worker is gone or useless.
  struct Report {
    size_t file;  // which one it is about, if it has a result
    HashReport content;
  };
  absl::StatusOr<Report> NextReport();

  // Whether it has ever reported.
  bool has_begun() const { return has_begun_; }

  // What it has been given and not reported, first things first. It works on
  // the first file of the first range.
  const std::deque<FileRange>& unreported() const { return unreported_; }

  // How long those are.
  uint64_t unreported_bytes() const { return unreported_bytes_; }

  // Two descriptors to poll: that of the connection, and one that is readable
  // once the worker has ended.
  std::pair<int, int> descriptors() const;

  // Tells it that there is no more to do.
  void Dismiss();

  // Waits until it has ended, not for long, and says how: "was killed by signal
  // 9 (Killed)".
  std::string End();

 private:
  FarmWorker(mp::Connection connection, mp::Process process,
             const std::vector<ListedFile>& files)
      : connection_(std::move(connection)),
        process_(std::move(process)),
        files_(files) {}

  size_t TakeFirstUnreported();

  mp::Connection connection_;
  mp::Process process_;
  const std::vector<ListedFile>& files_;
  bool has_begun_ = false;
  std::deque<FileRange> unreported_;
  uint64_t unreported_bytes_ = 0;
};

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_FARM_WORKER_H_
