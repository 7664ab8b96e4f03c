#ifndef MP_POOL_PROGRESS_H_
#define MP_POOL_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/time.h"

namespace mp {

// How far calls of Pool::Map(), Imap() and their kin have come.
struct Progress {
  // Items that have an outcome, and how many of those failed.
  uint64_t done = 0;
  uint64_t failed = 0;

  // Of all items; nullopt as long as an Imap() has not read its input to the
  // end.
  std::optional<uint64_t> total;

  // Since the first of the calls.
  absl::Duration elapsed;

  // Whether all is done; told once, as the last.
  bool finished = false;

  // Items in a second, so far.
  double rate() const {
    if (elapsed <= absl::ZeroDuration()) return 0;
    return static_cast<double>(done) / absl::ToDoubleSeconds(elapsed);
  }

  // What the rest will take, if it takes what the others took. Nullopt if there
  // is nothing to tell that by.
  std::optional<absl::Duration> time_left() const {
    if (done == 0 || !total.has_value() || *total < done) return std::nullopt;
    return elapsed *
           (static_cast<double>(*total - done) / static_cast<double>(done));
  }
};

// Hears of progress: at most ten times a second, and at the end, before the last
// result is to be had. A ProgressBar is one.
//
// Example:
//   pool.Map(HashFile, paths, {.progress = [&](const mp::Progress& progress) {
//              window.ShowPercent(100 * progress.done / *progress.total);
//            }});
//
// Threads: called by one at a time, a thread of the pool or one that reads
//          results. It must not wait for what runs in that pool. What it throws
//          is dropped.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace mp

#endif  // MP_POOL_PROGRESS_H_
