#ifndef MP_POOL_INSIGHTS_H_
#define MP_POOL_INSIGHTS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mp {

// What one worker of a pool has done with its time.
//
// Units: starting, initializing, waiting and working make up its life so far.
struct WorkerInsights {
  std::string name;
  // Nullopt until it has started.
  std::optional<pid_t> pid;
  absl::Time started_at;

  // From the first step of its start until it was ready, but for its
  // initializer; that; and what it did since, as far as its pool can see.
  absl::Duration starting;
  absl::Duration initializing;
  absl::Duration waiting;  // for something to do
  absl::Duration working;

  // Items that it has run, and those of them that failed, with the one that it
  // was lost with.
  int64_t items = 0;
  int64_t failed = 0;

  // Encoded arguments and results, without what leads them.
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;

  // Nullopt as long as it lives.
  std::optional<absl::Time> ended_at;
  std::string how_it_ended;
};

// An item that took long.
struct SlowItem {
  // The function's name, if the program has symbols; else its type.
  std::string function;
  // Which item of its Map() or Imap() it was, from 0.
  uint64_t index = 0;
  absl::Duration duration;
  std::string worker;
  // "OK", or what went wrong.
  std::string outcome;
};

// Where the time of a pool goes, from Pool::Insights().
//
// Example:
//   std::cerr << pool.Insights();
//
// prints
//
//   12 items, 1 failed; 2 workers started, 0 lost; 1.1 KiB sent, 480 B received
//   worker         pid  items  failed  start  init  wait   work  ...  end
//   PoolWorker-1  4711     12       1    2ms  30ms  10ms  1.23s  ...  alive
//   slowest  index  worker        function: outcome
//   912ms        7  PoolWorker-1  HashFile(std::string const&): OK
//
// Shape:  those that have ended last are kept, up to kMaxEnded, and the items
//         that took longest, up to kMaxSlowest.
// Units:  an item takes from when its worker could begin it until its result
//         has come to the pool's own process, on the monotonic clock. So the
//         time of tiny items is that of their way, too; and where that process
//         is late to hear of one, it seems longer and the next one shorter.
// Source: mpire's insights.
struct PoolInsights {
  static constexpr size_t kMaxEnded = 1000;
  static constexpr size_t kMaxSlowest = 10;

  // In the order in which they were started.
  std::vector<WorkerInsights> workers;

  // The slowest one first.
  std::vector<SlowItem> slowest;

  // Of all workers, with those that are not kept.
  int64_t workers_started = 0;
  int64_t workers_lost = 0;  // that ended though nobody had told them to
  int64_t items = 0;
  int64_t failed = 0;
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;

  // Returns tables to read, the last line with a new line too.
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& stream, const PoolInsights& insights);

}  // namespace mp

#endif  // MP_POOL_INSIGHTS_H_
