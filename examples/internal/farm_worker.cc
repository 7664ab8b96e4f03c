#include "examples/internal/farm_worker.h"

#include <string.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "examples/internal/file_list.h"
#include "examples/internal/hash_worker.h"
#include "examples/internal/work_queue.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/connection.h"
#include "mp/ipc/pipe.h"
#include "mp/process/context.h"
#include "mp/process/process.h"

namespace examples {
namespace {

// For a worker that is about to end by itself.
constexpr absl::Duration kPatience = absl::Seconds(1);

std::string Describe(std::optional<int> exitcode) {
  if (!exitcode.has_value()) return "ended";
  if (*exitcode >= 0) return absl::StrCat("exited with status ", *exitcode);
  return absl::StrCat("was killed by signal ", -*exitcode, " (",
                      strsignal(-*exitcode), ")");
}

}  // namespace

absl::StatusOr<std::unique_ptr<FarmWorker>> FarmWorker::Start(
    const mp::Context& context, const std::vector<ListedFile>& files) {
  MP_ASSIGN_OR_RETURN(auto ends, mp::Pipe());
  mp::Process process({.context = context, .daemon = true}, RunHashWorker,
                      std::move(ends.second), getpid());
  MP_RETURN_IF_ERROR(process.Start());
  return absl::WrapUnique(
      new FarmWorker(std::move(ends.first), std::move(process), files));
}

FarmWorker::~FarmWorker() {
  connection_.Close();            // ends a thread
  process_.Kill().IgnoreError();  // ends a process
  process_.Join().IgnoreError();
}

void FarmWorker::Give(FileRange batch) {
  HashBatch message;
  for (size_t i = batch.begin; i < batch.end; ++i) {
    message.files.push_back(files_[i].name);
    unreported_bytes_ += files_[i].size_bytes;
  }
  unreported_.push_back(batch);
  connection_.Send(message).IgnoreError();
}

absl::StatusOr<FarmWorker::Report> FarmWorker::NextReport() {
  MP_ASSIGN_OR_RETURN(HashReport report,
                      connection_.Recv<HashReport>(absl::ZeroDuration()));
  has_begun_ = true;
  if (report.result.has_value() && unreported_.empty()) {
    return absl::DataLossError("a report about a file that was not given");
  }
  const size_t file = report.result.has_value() ? TakeFirstUnreported() : 0;
  return Report{file, std::move(report)};
}

size_t FarmWorker::TakeFirstUnreported() {
  const size_t file = unreported_.front().begin++;
  if (unreported_.front().empty()) unreported_.pop_front();
  unreported_bytes_ -= files_[file].size_bytes;
  return file;
}

std::pair<int, int> FarmWorker::descriptors() const {
  return {connection_.fileno(), process_.sentinel().value_or(-1)};
}

void FarmWorker::Dismiss() { connection_.Send(HashBatch()).IgnoreError(); }

std::string FarmWorker::End() {
  connection_.Close();
  if (!process_.Join(kPatience).ok()) {
    process_.Kill().IgnoreError();  // a thread cannot be, but sees the close
    process_.Join().IgnoreError();
  }
  return Describe(process_.exitcode());
}

}  // namespace examples
