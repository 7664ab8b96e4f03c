#ifndef MP_POOL_INTERNAL_TRACE_EVENTS_H_
#define MP_POOL_INTERNAL_TRACE_EVENTS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// What the workers of a pool did when, for a timeline viewer: a row for each
// worker, on it its start, its initializer, each item, and its end.
//
// Shape:   the first kMaxItems items and kMaxWorkers workers, at 80 and some
//          200 bytes each; the rest is only counted.
// Threads: for one at a time.
// Source:  "Trace Event Format", Google, 2016: JSON Object Format,
//          with complete (X), instant (i) and metadata (M) events.
class TraceEvents {
 public:
  static constexpr size_t kMaxItems = 250'000;
  static constexpr size_t kMaxWorkers = 20'000;

  struct Item {
    WorkerId worker = 0;
    RunItem item;
    FunctionId function;
    uint64_t index = 0;  // within its call
    absl::Time begun;
    absl::Duration duration;
    absl::StatusCode outcome = absl::StatusCode::kOk;
  };
  struct Worker {
    WorkerId id = 0;
    std::string name;
    std::optional<pid_t> pid;
    absl::Time started;
    std::optional<absl::Duration> starting;  // none: it was never ready
    absl::Duration initializing;
    std::optional<absl::Time> ended;
    std::string how_it_ended;
  };

  void AddItem(const Item& item);
  // At its end, or when all is written.
  void AddWorker(Worker worker);

  // Gives all of it, piece by piece. Times are relative to `epoch`.
  void Write(absl::Time epoch,
             const std::function<void(absl::string_view)>& write) const;

 private:
  std::vector<Item> items_;
  std::vector<Worker> workers_;
  int64_t dropped_items_ = 0;
  int64_t dropped_workers_ = 0;
};

// Returns a text as JSON has it, with its quotes. What is not UTF-8 in it, or
// not printable, is written as \xNN.
//
// Source: RFC 8259, section 7.
std::string JsonString(absl::string_view text);

// Replaces a file by `events`: whoever reads it sees the old one or the new one.
//
// Errors: those of mkostemp(3), write(2) and rename(2), with the path.
absl::Status WriteTraceFile(const std::string& path, const TraceEvents& events,
                            absl::Time epoch);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_TRACE_EVENTS_H_
