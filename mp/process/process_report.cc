#include "mp/process/process_report.h"

#include <string.h>  // NOLINT(modernize-deprecated-headers): sigabbrev_np
#include <sys/resource.h>

#include <optional>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/process/context.h"

namespace mp {
namespace {

constexpr absl::string_view kIndent = "  ";

// Returns a duration with as many digits as people read.
std::string Readable(absl::Duration duration) {
  const absl::Duration unit =
      duration < absl::Milliseconds(10) ? absl::Microseconds(1)
      : duration < absl::Seconds(10)    ? absl::Milliseconds(1)
                                        : absl::Milliseconds(100);
  return absl::FormatDuration(absl::Trunc(duration, unit));
}

std::string HowItEnded(const ProcessReport& report) {
  if (!report.exit_code.has_value()) return "ended, nobody knows how,";
  const std::optional<int> signal = report.signal();
  if (!signal.has_value()) {
    return absl::StrCat("ended with exit code ", *report.exit_code);
  }
  return absl::StrCat("was killed by ", SignalName(*signal), " (signal ",
                      *signal, ")");
}

std::string OomSentence(OomKilled oom_killed) {
  switch (oom_killed) {
    case OomKilled::kNo:
      return "";
    case OomKilled::kYes:
      return "killed by the kernel, because memory had run out\n";
    case OomKilled::kUnknown:
      return "maybe killed by the kernel, because memory had run out\n";
  }
  return "";
}

std::string UsageSentence(const ResourceUsage& usage) {
  return absl::StrFormat(
      "used %s as user and %s as system, %.1f MiB at most, %d page faults, %d "
      "of them from disk\n",
      Readable(usage.user_time), Readable(usage.system_time),
      static_cast<double>(usage.max_rss_bytes) / (1 << 20),
      usage.minor_page_faults + usage.major_page_faults,
      usage.major_page_faults);
}

std::string Line(const std::string& text) {
  return text.empty() ? "" : absl::StrCat(text, "\n");
}

}  // namespace

ResourceUsage ToResourceUsage(const rusage& usage) {
  ResourceUsage result;
  result.user_time = absl::DurationFromTimeval(usage.ru_utime);
  result.system_time = absl::DurationFromTimeval(usage.ru_stime);
  result.max_rss_bytes = int64_t{usage.ru_maxrss} * 1024;
  result.minor_page_faults = usage.ru_minflt;
  result.major_page_faults = usage.ru_majflt;
  result.blocks_read = usage.ru_inblock;
  result.blocks_written = usage.ru_oublock;
  result.voluntary_context_switches = usage.ru_nvcsw;
  result.involuntary_context_switches = usage.ru_nivcsw;
  return result;
}

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal)
                         : absl::StrCat("SIG", name);
}

std::optional<int> ProcessReport::signal() const {
  if (!exit_code.has_value() || *exit_code >= 0) return std::nullopt;
  return -*exit_code;
}

std::string ProcessReport::ToString() const {
  const std::string details =
      absl::StrCat(Line(message), OomSentence(oom_killed), Line(remark),
                   usage.has_value() ? UsageSentence(*usage) : "", Line(stack));
  std::string text =
      absl::StrCat(name, " (pid ", pid, ", ", StartMethodName(start_method),
                   ") ", HowItEnded(*this), " after ", Readable(wall_time),
                   core_dumped.value_or(false) ? ", core dumped" : "", "\n");
  for (const absl::string_view line :
       absl::StrSplit(details, '\n', absl::SkipEmpty())) {
    absl::StrAppend(&text, kIndent, line, "\n");
  }
  return text;
}

std::ostream& operator<<(std::ostream& stream, const ProcessReport& report) {
  return stream << report.ToString();
}

}  // namespace mp
