#ifndef EXAMPLES_INTERNAL_PROGRESS_BAR_H_
#define EXAMPLES_INTERNAL_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace examples {

struct Progress {
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  absl::Duration elapsed;
};

// Returns a line of less than `columns` characters, without a new line:
//   [=========>           ]  45%  61.2 of 137.0 MiB  512.0 MiB/s  0:03 left
// In a narrow terminal it is cut on the right.
std::string FormatProgress(const Progress& progress, int columns);

// A line at the bottom of a terminal that shows how far a job is. It does
// nothing if the descriptor is no terminal.
//
// Owns:    nothing; the descriptor has to stay open.
// Threads: not safe.
class ProgressBar {
 public:
  explicit ProgressBar(int fd);

  // Draws the line, over the one from before.
  void Draw(const Progress& progress);

  // Makes the line empty again, so that other text can be written.
  void Erase();

 private:
  const int fd_;
  const bool is_terminal_;
  bool drawn_ = false;
};

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_PROGRESS_BAR_H_
