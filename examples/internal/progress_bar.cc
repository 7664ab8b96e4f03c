#include "examples/internal/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/io.h"

namespace examples {
namespace {

constexpr int kDefaultColumns = 80;
constexpr int kMaxBarColumns = 40;

// A carriage return, and "erase to the end of the line" (man 4 console_codes).
constexpr char kEraseLine[] = "\r\x1b[K";

// A unit in which a number of bytes has at most four digits.
struct Unit {
  double bytes;
  const char* name;
};

Unit UnitFor(double bytes) {
  Unit unit = {1, "B"};
  for (const char* name : {"KiB", "MiB", "GiB", "TiB", "PiB"}) {
    if (bytes < 1000 * unit.bytes) break;
    unit = {unit.bytes * 1024, name};
  }
  return unit;
}

std::string InUnit(double bytes, const Unit& unit) {
  return absl::StrFormat("%.*f", unit.bytes > 1 ? 1 : 0, bytes / unit.bytes);
}

std::string FormatTime(absl::Duration time) {
  const int64_t seconds =
      absl::ToInt64Seconds(absl::Ceil(time, absl::Seconds(1)));
  if (seconds < 3600) {
    return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60,
                         seconds % 60);
}

std::string FormatRate(const Progress& progress, double done) {
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  if (done <= 0 || seconds <= 0) return "";
  const double rate = done / seconds;
  const Unit unit = UnitFor(rate);
  const absl::Duration left =
      absl::Seconds((static_cast<double>(progress.total_bytes) - done) / rate);
  return absl::StrCat("  ", InUnit(rate, unit), " ", unit.name, "/s  ",
                      FormatTime(left), " left");
}

std::string FormatBar(double fraction, int columns) {
  const int filled = static_cast<int>(fraction * columns);
  std::string bar(filled, '=');
  if (filled < columns) bar += '>';
  bar.resize(columns, ' ');
  return absl::StrCat("[", bar, "]");
}

int ColumnsOf(int terminal) {
  winsize size = {};
  if (ioctl(terminal, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kDefaultColumns;
  }
  return size.ws_col;
}

}  // namespace

std::string FormatProgress(const Progress& progress, int columns) {
  const double total = static_cast<double>(progress.total_bytes);
  // Files may have grown since their sizes were summed.
  const double done = std::min(static_cast<double>(progress.done_bytes), total);
  const double fraction = total > 0 ? done / total : 1;
  const Unit unit = UnitFor(total);
  const std::string text =
      absl::StrFormat(" %3d%%  %s of %s %s%s", static_cast<int>(fraction * 100),
                      InUnit(done, unit), InUnit(total, unit), unit.name,
                      FormatRate(progress, done));
  // The last column stays free: a character there may wrap the line.
  const int bar_columns =
      std::min(columns - 3 - static_cast<int>(text.size()), kMaxBarColumns);
  const std::string line =
      bar_columns > 0 ? FormatBar(fraction, bar_columns) + text : text;
  return line.substr(0, std::max(columns - 1, 0));
}

ProgressBar::ProgressBar(int fd) : fd_(fd), is_terminal_(isatty(fd) == 1) {}

void ProgressBar::Draw(const Progress& progress) {
  if (!is_terminal_) return;
  const std::string line = FormatProgress(progress, ColumnsOf(fd_));
  mp::WriteAll(fd_, absl::StrCat(kEraseLine, line)).IgnoreError();
  drawn_ = true;
}

void ProgressBar::Erase() {
  if (!drawn_) return;
  mp::WriteAll(fd_, kEraseLine).IgnoreError();  // it is but decoration
  drawn_ = false;
}

}  // namespace examples
