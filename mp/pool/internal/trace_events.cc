#include "mp/pool/internal/trace_events.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/function_name.h"
#include "mp/process/internal/printable.h"

namespace mp::internal {
namespace {

// How much is written at once.
constexpr size_t kPieceBytes = 1 << 16;

std::string Micros(absl::Duration duration) {
  return absl::StrFormat("%.3f", absl::ToDoubleMicroseconds(duration));
}

// Writes events, one a line, as the elements of a JSON array.
class EventWriter {
 public:
  EventWriter(absl::Time epoch,
              const std::function<void(absl::string_view)>& write)
      : epoch_(epoch), write_(write) {}

  // What a row, or without one all of them, is called.
  void Metadata(absl::string_view what, WorkerId row, absl::string_view json) {
    Event(absl::StrCat("\"name\":\"", what, "\",\"ph\":\"M\",\"tid\":", row,
                       ",\"args\":{", json, "}"));
  }

  void Span(absl::string_view name, absl::string_view category, WorkerId row,
            absl::Time begun, absl::Duration duration,
            absl::string_view arguments) {
    Event(absl::StrCat(
        "\"name\":", JsonString(name), ",\"cat\":\"", category,
        "\",\"ph\":\"X\",\"tid\":", row, ",\"ts\":", Micros(begun - epoch_),
        ",\"dur\":", Micros(duration), ",\"args\":{", arguments, "}"));
  }

  void Instant(absl::string_view name, absl::string_view category, WorkerId row,
               absl::Time at, absl::string_view arguments) {
    Event(absl::StrCat("\"name\":\"", name, "\",\"cat\":\"", category,
                       "\",\"ph\":\"i\",\"s\":\"t\",\"tid\":", row, ",\"ts\":",
                       Micros(at - epoch_), ",\"args\":{", arguments, "}"));
  }

  void Text(absl::string_view text) {
    absl::StrAppend(&piece_, text);
    if (piece_.size() >= kPieceBytes) Flush();
  }

  void Flush() {
    write_(piece_);
    piece_.clear();
  }

 private:
  void Event(absl::string_view fields) {
    Text(absl::StrCat(is_first_ ? "{" : ",\n{", "\"pid\":", getpid(), ",",
                      fields, "}"));
    is_first_ = false;
  }

  const absl::Time epoch_;
  const std::function<void(absl::string_view)>& write_;
  std::string piece_;
  bool is_first_ = true;
};

void WriteWorker(const TraceEvents::Worker& worker, EventWriter& writer) {
  const std::string pid =
      worker.pid.has_value() ? absl::StrCat(" (pid ", *worker.pid, ")") : "";
  writer.Metadata(
      "thread_name", worker.id,
      absl::StrCat("\"name\":", JsonString(absl::StrCat(worker.name, pid))));
  writer.Metadata("thread_sort_index", worker.id,
                  absl::StrCat("\"sort_index\":", worker.id));
  if (worker.starting.has_value()) {
    writer.Span("start", "worker", worker.id, worker.started, *worker.starting,
                "");
    if (worker.initializing > absl::ZeroDuration()) {
      writer.Span("initializer", "worker", worker.id,
                  worker.started + *worker.starting, worker.initializing, "");
    }
  }
  if (worker.ended.has_value()) {
    writer.Instant("end", "worker", worker.id, *worker.ended,
                   absl::StrCat("\"how\":", JsonString(worker.how_it_ended)));
  }
}

// The names of functions, each looked up once.
class FunctionNames {
 public:
  const std::string& Of(const FunctionId& id) {
    const auto [found, is_new] = names_.try_emplace({id.address, id.type});
    if (is_new) found->second = FunctionName(id);
    return found->second;
  }

 private:
  std::map<std::pair<const void*, const void*>, std::string> names_;
};

void WriteItem(const TraceEvents::Item& item, FunctionNames& names,
               EventWriter& writer) {
  writer.Span(names.Of(item.function), "item", item.worker, item.begun,
              item.duration,
              absl::StrCat("\"task\":", item.item.run,
                           ",\"index\":", item.index, ",\"outcome\":\"",
                           absl::StatusCodeToString(item.outcome), "\""));
}

// A temporary file, for as long as it has not been given its name.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path), temporary_(absl::StrCat(path, ".XXXXXX")) {
    fd_ = Fd(mkostemp(temporary_.data(), O_CLOEXEC));
    if (!fd_.is_open()) status_ = ErrnoStatus(errno, Call("mkostemp"));
  }
  ~NewFile() {
    if (fd_.is_open()) unlink(temporary_.c_str());
  }

  void Write(absl::string_view bytes) {
    if (status_.ok()) status_ = WriteAll(fd_.get(), bytes);
  }

  absl::Status Finish() {
    MP_RETURN_IF_ERROR(status_);
    // mkostemp() has made it private.
    if (fchmod(fd_.get(), 0644) != 0) return ErrnoStatus(errno, Call("fchmod"));
    if (rename(temporary_.c_str(), path_.c_str()) != 0) {
      return ErrnoStatus(errno, Call("rename"));
    }
    fd_.Close();
    return absl::OkStatus();
  }

 private:
  std::string Call(absl::string_view name) const {
    return absl::StrCat("the pool's trace: ", name, "(\"", temporary_, "\")");
  }

  const std::string path_;
  std::string temporary_;
  Fd fd_;
  absl::Status status_;
};

}  // namespace

void TraceEvents::AddItem(const Item& item) {
  if (items_.size() < kMaxItems) {
    items_.push_back(item);
  } else {
    ++dropped_items_;
  }
}

void TraceEvents::AddWorker(Worker worker) {
  if (workers_.size() < kMaxWorkers) {
    workers_.push_back(std::move(worker));
  } else {
    ++dropped_workers_;
  }
}

void TraceEvents::Write(
    absl::Time epoch,
    const std::function<void(absl::string_view)>& write) const {
  EventWriter writer(epoch, write);
  writer.Text("{\"displayTimeUnit\":\"ms\",\n\"traceEvents\":[\n");
  writer.Metadata("process_name", 0, "\"name\":\"mp::Pool\"");
  for (const Worker& worker : workers_) WriteWorker(worker, writer);
  FunctionNames names;
  for (const Item& item : items_) WriteItem(item, names, writer);
  writer.Text(
      absl::StrCat("],\n\"otherData\":{\"dropped_items\":", dropped_items_,
                   ",\"dropped_workers\":", dropped_workers_, "}}\n"));
  writer.Flush();
}

std::string JsonString(absl::string_view text) {
  std::string json = "\"";
  for (const char c : Printable(text)) {
    if (c == '\n') {
      json += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') json += '\\';
    json += c;
  }
  return json + '"';
}

absl::Status WriteTraceFile(const std::string& path, const TraceEvents& events,
                            absl::Time epoch) {
  NewFile file(path);
  events.Write(epoch, [&](absl::string_view bytes) { file.Write(bytes); });
  return file.Finish();
}

}  // namespace mp::internal
