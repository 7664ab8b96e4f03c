#ifndef MP_POOL_PROGRESS_BAR_H_
#define MP_POOL_PROGRESS_BAR_H_

#include <unistd.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "mp/pool/progress.h"

namespace mp {

struct ProgressBarOptions {
  // Where it is drawn. Not owned.
  int fd = STDERR_FILENO;

  // Whether it has characters that are not ASCII. Default: what LC_ALL,
  // LC_CTYPE or LANG, the first of them that is set, says of UTF-8.
  std::optional<bool> utf8 = std::nullopt;
};

// A line on the terminal that shows how far a Pool has come.
//
// Example:
//   auto pool = mp::Pool::Create({.progress = mp::ProgressBar("hashing")});
//   pool->Map(HashFile, paths);
//
// draws
//
//   hashing  45% |#########           | 450/1000, 3 failed [00:12<00:15, 37.5/s]
//
// with the time that it has taken, the time left and the rate. While an Imap()
// has not read all of its input there is no bar, and no time left. The end, good
// or bad, leaves the last state and a new line.
//
// Shape:   at most one line, as wide as the terminal. Nothing at all is written
//          where `fd` is no terminal, or a dumb one (TERM=dumb), or one in whose
//          background this process is.
// Threads: copies are the same bar; draw it from one at a time, as a pool does.
// Source:  man 4 console_codes; man 2 ioctl_tty, TIOCGWINSZ; the Python package
//          tqdm, whose bars look so.
class ProgressBar {
 public:
  explicit ProgressBar(std::string title,
                       const ProgressBarOptions& options = {});

  // Is a ProgressCallback.
  void operator()(const Progress& progress) const;

 private:
  std::string title_;
  ProgressBarOptions options_;
};

namespace internal {

// Returns the line, at most `width` characters, which a terminal shows as one
// column each.
std::string ProgressLine(absl::string_view title, const Progress& progress,
                         size_t width, bool utf8);

}  // namespace internal
}  // namespace mp

#endif  // MP_POOL_PROGRESS_BAR_H_
