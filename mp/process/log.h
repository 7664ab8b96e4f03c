#ifndef MP_PROCESS_LOG_H_
#define MP_PROCESS_LOG_H_

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/process/fields.h"

// What this library has to say about processes, and whoever else wants to say
// it in the same place.
namespace mp {

// How much a message matters. Any other number between is a level too.
enum class LogLevel : int {
  kSubDebug = 5,
  kDebug = 10,
  kInfo = 20,
  kSubWarning = 25,
  kWarning = 30,
  kError = 40,
};

// Returns "SUBDEBUG", "DEBUG", ..., or "Level 7" for one without a name.
std::string LogLevelName(LogLevel level);

struct LogRecord {
  LogLevel level = LogLevel::kInfo;
  // Of the process that logs, or of the thread in its place.
  std::string process_name;
  std::string message;
  absl::Time time;
};

// Takes a message. It is called by the thread that logs, maybe several at once,
// and must not throw, nor log itself.
using LogHandler = std::function<void(const LogRecord&)>;

// What a new process inherits.
struct LogSettings {
  LogLevel level = LogLevel::kWarning;
  bool to_stderr = false;

  friend bool operator==(const LogSettings&, const LogSettings&) = default;
  MP_FIELDS(level, to_stderr)
};

// Hands messages of a level or above to handlers.
//
// Example:
//   mp::LogToStderr(mp::LogLevel::kInfo);
//   mp::GetLogger().Log(mp::LogLevel::kInfo, "read ", count, " files");
//   // stderr: [INFO/Process-1] read 3 files
//
// At first the level is kWarning and there is no handler: then warnings and
// what is worse go to stderr, in the same form.
//
// Threads: safe from any.
// Fork:    a forked child has the settings and the handlers of its parent; any
//          other process that is started has the settings.
// Source:  CPython multiprocessing.get_logger(), and logging.lastResort.
//          Differs: there is no root logger to inherit a level from.
class Logger {
 public:
  constexpr Logger() = default;
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) {
    level_.store(level, std::memory_order_relaxed);
  }

  // Whether a message of that level goes anywhere. This is all that a message
  // costs which does not.
  bool IsEnabled(LogLevel level) const { return level >= this->level(); }

  // Logs a message made of `parts`, as by absl::StrCat().
  template <typename... Parts>
  void Log(LogLevel level, const Parts&... parts) {
    if (IsEnabled(level)) Write(level, absl::StrCat(parts...));
  }

  // Adds a handler, and returns a number to remove it by. A thread that logs
  // meanwhile may still call one that has been removed.
  int AddHandler(LogHandler handler);
  void RemoveHandler(int number);

  LogSettings settings() const;
  void Apply(const LogSettings& settings);

 private:
  void Write(LogLevel level, std::string message);

  std::atomic<LogLevel> level_{LogLevel::kWarning};
  std::atomic<bool> to_stderr_{false};
};

// Returns the logger of this process.
//
// Source: CPython multiprocessing.get_logger().
Logger& GetLogger();

// Has messages written to stderr, each as "[LEVEL/PROCESS] MESSAGE" and a new
// line in one piece, and sets the level, if there is one. Again, it changes
// nothing but the level.
//
// Source: CPython multiprocessing.log_to_stderr(), which writes as often as it
// has been called.
Logger& LogToStderr(std::optional<LogLevel> level = std::nullopt);

}  // namespace mp

#endif  // MP_PROCESS_LOG_H_
