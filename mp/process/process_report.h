#ifndef MP_PROCESS_PROCESS_REPORT_H_
#define MP_PROCESS_PROCESS_REPORT_H_

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/process/context.h"

namespace mp {

// What a process has used, with those of its own children that it waited for.
//
// Source: man 2 getrusage, which says the same of each.
struct ResourceUsage {
  absl::Duration user_time;
  absl::Duration system_time;
  // The most memory that was resident at once, in bytes. For a process this
  // begins with what its parent had, and for a thread it is that of the
  // program.
  int64_t max_rss_bytes = 0;
  // Page faults that needed no reading from disk, and those that did.
  int64_t minor_page_faults = 0;
  int64_t major_page_faults = 0;
  // In units of 512 bytes.
  int64_t blocks_read = 0;
  int64_t blocks_written = 0;
  int64_t voluntary_context_switches = 0;
  int64_t involuntary_context_switches = 0;
};

ResourceUsage ToResourceUsage(const rusage& usage);

// Whether the kernel killed a process because memory had run out. Unknown where
// it does not say whom it killed.
enum class OomKilled { kNo, kYes, kUnknown };

// Returns "SIGSEGV", say, or "signal 34" for one that has no name.
std::string SignalName(int signal);

// How a process ended, and why.
//
// Example:
//   MP_CHECK_OK(process.Join());
//   if (process.exitcode() != 0) std::cerr << *process.Report();
//
// prints
//
//   Process-1 (pid 4711, forkserver) was killed by SIGSEGV (signal 11) after
//   1.2s
//     used 31ms as user and 4ms as system, 12.4 MiB at most, 1204 page faults
//     at address 0x8, in the main thread
//     #0 Parse() [program+0x12f4]
//     #1 main [program+0x1344]
//
// Source: man 2 waitid, man 2 getrusage; CPython has only the exit code.
struct ProcessReport {
  std::string name;
  pid_t pid = 0;
  StartMethod start_method = StartMethod::kForkServer;

  // As Process::exitcode(). Nullopt if nobody knows it; `remark` says why.
  std::optional<int> exit_code;

  // Whether a core was dumped, if that is known.
  std::optional<bool> core_dumped;

  // Nullopt where it went to somebody else with the exit status.
  std::optional<ResourceUsage> usage;

  // From Start() to the end: as the process noted it itself, or else when it
  // was first seen here to have ended, by Join(), IsAlive() or the like.
  absl::Duration wall_time;

  OomKilled oom_killed = OomKilled::kNo;

  // What the process said went wrong: the exception that ended it, for example.
  // Its own words, made printable.
  std::string message;

  // Of a crash by SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS or SIGTRAP:
  // where it was, and the calls that led there, a line each, innermost first.
  // Up to 64, fewer if their names are long. Empty if the program or a
  // sanitizer handles the signal itself, or if the stack of a thread other than
  // the main one overflowed.
  std::string stack;

  // Why something of all this is not known.
  std::string remark;

  // Returns the signal that killed it, if one did.
  std::optional<int> signal() const;

  // Returns lines to read, the last one with a new line too.
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& stream, const ProcessReport& report);

}  // namespace mp

#endif  // MP_PROCESS_PROCESS_REPORT_H_
