#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/process/surroundings.h"

// Programs that are run to their end at once.
namespace mp {
namespace {

// How much of stderr goes into a message.
constexpr size_t kMaxQuotedBytes = 500;

// How long one that was killed may take to end.
constexpr absl::Duration kEndGrace = absl::Seconds(10);

std::string DescribeEnd(std::optional<int> returncode) {
  if (!returncode.has_value()) {
    return "ended, and a wait elsewhere in this process took its exit code";
  }
  return *returncode < 0 ? absl::StrCat("was killed by signal ", -*returncode)
                         : absl::StrCat("exited with ", *returncode);
}

std::string LastOf(absl::string_view err) {
  err = absl::StripTrailingAsciiWhitespace(err);
  if (err.empty()) return "";
  if (err.size() <= kMaxQuotedBytes) return absl::StrCat(": ", err);
  return absl::StrCat(": ...", err.substr(err.size() - kMaxQuotedBytes));
}

void PipeUnlessSaid(std::optional<Stdio>& stdio) {
  if (!stdio.has_value()) stdio = Stdio::Pipe();
}

void AddPipes(RunOptions& options) {
  Surroundings& surroundings = options.program.surroundings;
  if (options.input.has_value()) PipeUnlessSaid(surroundings.stdin_from);
  if (!options.capture_output) return;
  PipeUnlessSaid(surroundings.stdout_to);
  PipeUnlessSaid(surroundings.stderr_to);
}

}  // namespace

absl::Status CompletedSubprocess::Check() const {
  if (returncode == 0) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat("\"", args.empty() ? "" : args[0],
                                         "\" ", DescribeEnd(returncode),
                                         LastOf(err)));
}

absl::StatusOr<CompletedSubprocess> Subprocess::Run(
    std::vector<std::string> args, RunOptions options) {
  AddPipes(options);
  MP_ASSIGN_OR_RETURN(Subprocess program,
                      Popen(args, std::move(options.program)));
  absl::StatusOr<SubprocessOutput> output = program.Communicate(
      std::move(options.input).value_or(""), options.timeout);
  if (!output.ok()) {
    // One that changed its user, as sudo does, may not let itself be killed.
    program.KillTree().IgnoreError();
    program.Wait(kEndGrace).IgnoreError();
    if (!absl::IsDeadlineExceeded(output.status())) return output.status();
    return absl::DeadlineExceededError(absl::StrCat(
        "Subprocess::Run(\"", args.empty() ? "" : args[0],
        "\"): it took longer than ", absl::FormatDuration(options.timeout),
        ", and was killed"));
  }
  return CompletedSubprocess{std::move(args), program.returncode(),
                             std::move(output->out), std::move(output->err)};
}

absl::Status Subprocess::CheckCall(std::vector<std::string> args,
                                   RunOptions options) {
  MP_ASSIGN_OR_RETURN(const CompletedSubprocess completed,
                      Run(std::move(args), std::move(options)));
  return completed.Check();
}

absl::StatusOr<std::string> Subprocess::CheckOutput(
    std::vector<std::string> args, RunOptions options) {
  PipeUnlessSaid(options.program.surroundings.stdout_to);
  MP_ASSIGN_OR_RETURN(CompletedSubprocess completed,
                      Run(std::move(args), std::move(options)));
  MP_RETURN_IF_ERROR(completed.Check());
  return std::move(completed.out);
}

}  // namespace mp
