#include "mp/pool/insights.h"

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/process/internal/printable.h"

namespace mp {
namespace {

using Row = std::vector<std::string>;

// Texts longer than this are cut, so that a row stays one.
constexpr size_t kMaxCell = 60;

std::string Cell(absl::string_view text) {
  std::string cell = internal::Printable(text.substr(0, text.find('\n')));
  if (cell.size() <= kMaxCell) return cell;
  size_t end = kMaxCell;
  // Not within a character of UTF-8.
  while ((static_cast<unsigned char>(cell[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat(cell.substr(0, end), "...");
}

// Three digits or so: 12.3ms.
std::string Short(absl::Duration duration) {
  for (const absl::Duration unit :
       {absl::Milliseconds(10), absl::Microseconds(10)}) {
    if (duration >= 100 * unit) {
      return absl::FormatDuration(absl::Trunc(duration, unit));
    }
  }
  return absl::FormatDuration(absl::Trunc(duration, absl::Microseconds(1)));
}

std::string Bytes(int64_t bytes) {
  constexpr char kPrefixes[] = "KMGTPE";
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  auto value = static_cast<double>(bytes) / 1024;
  const char* prefix = kPrefixes;
  for (; value >= 1024 && prefix[1] != '\0'; ++prefix) value /= 1024;
  return absl::StrFormat("%.1f %ciB", value, *prefix);
}

// Numbers to the right, the first and the last column to the left.
std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string table;
  for (const Row& row : rows) {
    absl::StrAppendFormat(&table, "%-*s", static_cast<int>(widths[0]), row[0]);
    for (size_t i = 1; i + 1 < row.size(); ++i) {
      absl::StrAppendFormat(&table, "  %*s", static_cast<int>(widths[i]),
                            row[i]);
    }
    absl::StrAppend(&table, "  ", row.back(), "\n");
  }
  return table;
}

Row RowOf(const WorkerInsights& worker) {
  return {Cell(worker.name),
          worker.pid.has_value() ? absl::StrCat(*worker.pid) : "-",
          absl::StrCat(worker.items),
          absl::StrCat(worker.failed),
          Short(worker.starting),
          Short(worker.initializing),
          Short(worker.waiting),
          Short(worker.working),
          Bytes(worker.bytes_sent),
          Bytes(worker.bytes_received),
          worker.ended_at.has_value() ? Cell(worker.how_it_ended) : "alive"};
}

Row RowOf(const SlowItem& item) {
  return {Short(item.duration), absl::StrCat(item.index), Cell(item.worker),
          Cell(absl::StrCat(item.function, ": ", item.outcome))};
}

}  // namespace

std::string PoolInsights::ToString() const {
  std::vector<Row> rows = {{"worker", "pid", "items", "failed", "start", "init",
                            "wait", "work", "sent", "received", "end"}};
  for (const WorkerInsights& worker : workers) rows.push_back(RowOf(worker));
  std::string text = absl::StrCat(
      items, " items, ", failed, " failed; ", workers_started,
      " workers started, ", workers_lost, " lost; ", Bytes(bytes_sent),
      " sent, ", Bytes(bytes_received), " received\n", Table(rows));
  if (slowest.empty()) return text;
  rows = {{"slowest", "index", "worker", "function: outcome"}};
  for (const SlowItem& item : slowest) rows.push_back(RowOf(item));
  return absl::StrCat(text, Table(rows));
}

std::ostream& operator<<(std::ostream& stream, const PoolInsights& insights) {
  return stream << insights.ToString();
}

}  // namespace mp
