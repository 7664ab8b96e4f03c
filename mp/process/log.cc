#include "mp/process/log.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/io.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/identity.h"

namespace mp {
namespace {

ABSL_CONST_INIT Logger the_logger;

struct Entry {
  int number;
  // Shared with those who are about to call it.
  std::shared_ptr<const LogHandler> handler;
};

struct Handlers {
  ForkSafeMutex mutex;
  std::vector<Entry> entries ABSL_GUARDED_BY(mutex);
  int last_number ABSL_GUARDED_BY(mutex) = 0;
};

Handlers& AllHandlers() {
  static Handlers& handlers = []() -> Handlers& {
    Handlers& created = *new Handlers;  // outlives exit handlers
    internal::HoldAcrossForks(created.mutex);
    return created;
  }();
  return handlers;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (AllHandlers(), true);

std::vector<Entry> CopyHandlers() {
  Handlers& all = AllHandlers();
  ForkSafeLock lock(all.mutex);
  return all.entries;
}

// absl::Now() has a lock, which another thread may hold when this process is
// forked.
absl::Time Now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return absl::TimeFromTimespec(now);
}

void WriteToStderr(const LogRecord& record) {
  const std::string line =
      absl::StrCat("[", LogLevelName(record.level), "/", record.process_name,
                   "] ", record.message, "\n");
  WriteAll(STDERR_FILENO, line).IgnoreError();  // there is nobody else to tell
}

}  // namespace

std::string LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kSubDebug:
      return "SUBDEBUG";
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kSubWarning:
      return "SUBWARNING";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kError:
      return "ERROR";
  }
  return absl::StrCat("Level ", static_cast<int>(level));
}

Logger& GetLogger() { return the_logger; }

Logger& LogToStderr(std::optional<LogLevel> level) {
  the_logger.Apply({level.value_or(the_logger.level()), /*to_stderr=*/true});
  return the_logger;
}

int Logger::AddHandler(LogHandler handler) {
  auto shared = std::make_shared<const LogHandler>(std::move(handler));
  Handlers& all = AllHandlers();
  ForkSafeLock lock(all.mutex);
  all.entries.push_back({++all.last_number, std::move(shared)});
  return all.last_number;
}

void Logger::RemoveHandler(int number) {
  std::shared_ptr<const LogHandler> removed;  // goes when the lock has gone
  Handlers& all = AllHandlers();
  ForkSafeLock lock(all.mutex);
  const auto entry =
      std::find_if(all.entries.begin(), all.entries.end(),
                   [&](const Entry& entry) { return entry.number == number; });
  if (entry == all.entries.end()) return;
  removed = std::move(entry->handler);
  all.entries.erase(entry);
}

LogSettings Logger::settings() const {
  return {level(), to_stderr_.load(std::memory_order_relaxed)};
}

void Logger::Apply(const LogSettings& settings) {
  set_level(settings.level);
  to_stderr_.store(settings.to_stderr, std::memory_order_relaxed);
}

void Logger::Write(LogLevel level, std::string message) {
  const LogRecord record = {level, internal::CurrentProcessName(),
                            std::move(message), Now()};
  const std::vector<Entry> handlers = CopyHandlers();
  const bool is_last_resort = handlers.empty() && level >= LogLevel::kWarning;
  if (settings().to_stderr || is_last_resort) WriteToStderr(record);
  for (const Entry& entry : handlers) (*entry.handler)(record);
}

}  // namespace mp
