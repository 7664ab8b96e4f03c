#include "mp/pool/progress_bar.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/io.h"
#include "mp/pool/progress.h"
#include "mp/process/internal/printable.h"

namespace mp {
namespace {

constexpr size_t kDefaultWidth = 80;
// A bar shorter than this says nothing.
constexpr size_t kMinBar = 5;

// Back to the column that is the first, and after the line nothing is left.
constexpr char kStart[] = "\r";
constexpr char kClearRest[] = "\x1b[K";

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = getenv(name);
    if (value == nullptr || *value == '\0') continue;
    return absl::EndsWithIgnoreCase(value, "utf-8") ||
           absl::EndsWithIgnoreCase(value, "utf8");
  }
  return false;
}

bool CanDraw(int fd) {
  if (isatty(fd) == 0) return false;
  const char* const terminal = getenv("TERM");
  if (terminal != nullptr && absl::string_view(terminal) == "dumb") {
    return false;
  }
  // -1 for a terminal that is not this session's.
  const pid_t foreground = tcgetpgrp(fd);
  return foreground == -1 || foreground == getpgrp();
}

size_t WidthOf(int fd) {
  winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kDefaultWidth;
  }
  return size.ws_col;
}

bool BeginsCharacter(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

size_t Columns(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), BeginsCharacter));
}

absl::string_view FirstColumns(absl::string_view text, size_t columns) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (!BeginsCharacter(text[i])) continue;
    if (columns-- == 0) return text.substr(0, i);
  }
  return text;
}

// Minutes and seconds, or hours too.
std::string Clock(absl::Duration duration) {
  // What is longer is no estimate any more.
  const int64_t seconds = absl::ToInt64Seconds(
      std::clamp(duration, absl::ZeroDuration(), absl::Hours(999)));
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return absl::StrFormat("%02d:%02d", minutes, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", minutes / 60, minutes % 60,
                         seconds % 60);
}

std::string Rate(const Progress& progress) {
  const double rate = progress.rate();
  if (rate <= 0) return "?/s";
  if (rate < 1) return absl::StrFormat("%.1fs each", 1 / rate);
  return absl::StrFormat("%.*f/s", rate < 100 ? 1 : 0, rate);
}

std::string Times(const Progress& progress) {
  std::string times = Clock(progress.elapsed);
  if (!progress.finished) {
    if (const auto left = progress.time_left(); left.has_value()) {
      absl::StrAppend(&times, "<", Clock(*left));
    }
  }
  return absl::StrCat(" [", times, ", ", Rate(progress), "]");
}

std::string Bar(double share, size_t width, bool utf8) {
  const auto full = static_cast<size_t>(share * static_cast<double>(width));
  std::string bar = utf8 ? "▕" : "|";
  for (size_t i = 0; i < width; ++i) {
    absl::StrAppend(&bar, i >= full ? " " : utf8 ? "█" : "#");
  }
  return absl::StrCat(bar, utf8 ? "▏" : "|");
}

}  // namespace

namespace internal {

std::string ProgressLine(absl::string_view title, const Progress& progress,
                         size_t width, bool utf8) {
  std::string head(title);
  if (!head.empty()) head += ' ';
  std::string tail = absl::StrCat(progress.done);
  if (progress.total.has_value()) {
    absl::StrAppend(&tail, "/", *progress.total);
  }
  if (progress.failed > 0) {
    absl::StrAppend(&tail, ", ", progress.failed, " failed");
  }
  absl::StrAppend(&tail, Times(progress));
  if (progress.total.has_value()) {
    const double share = *progress.total == 0
                             ? 1
                             : static_cast<double>(progress.done) /
                                   static_cast<double>(*progress.total);
    absl::StrAppendFormat(&head, "%3d%% ", static_cast<int>(100 * share));
    // With its ends, and a space.
    const size_t rest = Columns(head) + Columns(tail) + 3;
    if (width >= rest + kMinBar) {
      absl::StrAppend(&head, Bar(share, width - rest, utf8), " ");
    }
  }
  return std::string(FirstColumns(absl::StrCat(head, tail), width));
}

}  // namespace internal

ProgressBar::ProgressBar(std::string title, const ProgressBarOptions& options)
    : title_(absl::StrReplaceAll(internal::Printable(title), {{"\n", " "}})),
      options_(options) {}

// One write, so that others write before or after it.
void ProgressBar::operator()(const Progress& progress) const {
  if (!CanDraw(options_.fd)) return;
  // In the last column, some terminals go on to the next line.
  const std::string line = internal::ProgressLine(
      title_, progress, WidthOf(options_.fd) - 1,
      options_.utf8.has_value() ? *options_.utf8 : LocaleIsUtf8());
  WriteAll(options_.fd, absl::StrCat(kStart, line, kClearRest,
                                     progress.finished ? "\n" : ""))
      .IgnoreError();
}

}  // namespace mp
