#include "mp/process/pipeline.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/exchange.h"
#include "mp/process/internal/guarded_exchange.h"
#include "mp/process/internal/stdio_pipe.h"
#include "mp/process/stdio.h"
#include "mp/process/subprocess.h"
#include "mp/process/surroundings.h"

namespace mp {
namespace {

// How long those that were killed may take to end.
constexpr absl::Duration kEndGrace = absl::Seconds(10);

absl::Status CheckPrograms(std::vector<Pipeline::Program>& programs) {
  if (programs.empty()) {
    return absl::InvalidArgumentError("Pipeline::Popen: there are no programs");
  }
  for (size_t i = 0; i < programs.size(); ++i) {
    const Surroundings& surroundings = programs[i].options.surroundings;
    const bool in = i > 0 && surroundings.stdin_from.has_value();
    const bool out =
        i + 1 < programs.size() && surroundings.stdout_to.has_value();
    if (!in && !out) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "Pipeline::Popen: the ", in ? "stdin" : "stdout", " of program ", i,
        " is the pipeline's; only the first may have a stdin of its own, and "
        "the last a stdout"));
  }
  return absl::OkStatus();
}

// Starts program `i`, and has it write to what the next one will read.
absl::StatusOr<Subprocess> PopenNext(std::vector<Pipeline::Program>& programs,
                                     size_t i) {
  Pipeline::Program program = std::move(programs[i]);
  if (i + 1 < programs.size()) {
    MP_ASSIGN_OR_RETURN(internal::StdioPipe pipe, internal::CreateStdioPipe());
    program.options.surroundings.stdout_to =
        Stdio::FromFd(std::move(pipe.writer));
    programs[i + 1].options.surroundings.stdin_from =
        Stdio::FromFd(std::move(pipe.reader));
  }
  return Subprocess::Popen(std::move(program.args), std::move(program.options));
}

}  // namespace

absl::StatusOr<Pipeline> Pipeline::Popen(std::vector<Program> programs) {
  MP_RETURN_IF_ERROR(CheckPrograms(programs));
  Pipeline pipeline;
  internal::Exchange& exchange = pipeline.pipes_->exchange();
  exchange.max_output_bytes = programs.back().options.max_output_bytes;
  exchange.until_closed = programs.back().options.until_closed;
  for (size_t i = 0; i < programs.size(); ++i) {
    absl::StatusOr<Subprocess> subprocess = PopenNext(programs, i);
    if (!subprocess.ok()) {
      pipeline.KillTree().IgnoreError();
      pipeline.Wait(kEndGrace).IgnoreError();
      return subprocess.status();
    }
    pipeline.programs_.push_back(*std::move(subprocess));
  }
  pipeline.TakePipes();
  return pipeline;
}

Pipeline::Pipeline() : pipes_(std::make_unique<internal::GuardedExchange>()) {}

// Takes those of all programs together, so that one loop serves them.
void Pipeline::TakePipes() {
  internal::Exchange& exchange = pipes_->exchange();
  Subprocess& first = programs_.front();
  Subprocess& last = programs_.back();
  exchange.input = {std::move(first.stdin_pipe()), first.sentinel()};
  exchange.takes_input = exchange.input.pipe.is_open();
  exchange.outputs.push_back(
      {{std::move(last.stdout_pipe()), last.sentinel()}, ""});
  for (Subprocess& program : programs_) {
    exchange.outputs.push_back(
        {{std::move(program.stderr_pipe()), program.sentinel()}, ""});
  }
}

absl::StatusOr<Pipeline::Output> Pipeline::Communicate(std::string input,
                                                       absl::Duration timeout) {
  const Deadline deadline(timeout);
  MP_RETURN_IF_ERROR(pipes_->Run(std::move(input), deadline));
  MP_RETURN_IF_ERROR(Wait(deadline.Remaining()));
  std::vector<internal::Exchange::Output>& outputs = pipes_->exchange().outputs;
  Output output;
  output.out = std::move(outputs[0].text);
  for (size_t i = 1; i < outputs.size(); ++i) {
    output.errs.push_back(std::move(outputs[i].text));
  }
  return output;
}

absl::Status Pipeline::Wait(absl::Duration timeout) {
  const Deadline deadline(timeout);
  return ForEach(
      [&](Subprocess& program) { return program.Wait(deadline.Remaining()); });
}

std::vector<std::optional<int>> Pipeline::Poll() {
  std::vector<std::optional<int>> codes;
  for (Subprocess& program : programs_) codes.push_back(program.Poll());
  return codes;
}

absl::Status Pipeline::Terminate() {
  return ForEach([](Subprocess& program) { return program.Terminate(); });
}

absl::Status Pipeline::KillTree() {
  return ForEach([](Subprocess& program) {
    const absl::Status status = program.KillTree();
    // One that has been waited for is no error here.
    return program.Poll().has_value() ? absl::OkStatus() : status;
  });
}

absl::Status Pipeline::ForEach(
    absl::FunctionRef<absl::Status(Subprocess&)> call) {
  absl::Status status;
  for (Subprocess& program : programs_) status.Update(call(program));
  return status;
}

}  // namespace mp
