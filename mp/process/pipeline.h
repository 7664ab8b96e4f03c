#ifndef MP_PROCESS_PIPELINE_H_
#define MP_PROCESS_PIPELINE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/process/internal/guarded_exchange.h"
#include "mp/process/subprocess.h"

namespace mp {

// Programs each of which reads what the one before it writes, as `a | b | c`.
//
// Example:
//   MP_ASSIGN_OR_RETURN(
//       Pipeline pipeline,
//       Pipeline::Popen({{{"sort"}, {.surroundings = {
//                            .stdin_from = Stdio::Pipe()}}},
//                        {{"uniq", "-c"}},
//                        {{"head", "-3"}, {.surroundings = {
//                            .stdout_to = Stdio::Pipe()}}}}));
//   MP_ASSIGN_OR_RETURN(Pipeline::Output most, pipeline.Communicate(words));
//
// Each program has its own options; stdin of the first, stdout of the last and
// stderr of any may be a Stdio::Pipe(), for Communicate().
//
// Owns, Threads, Fork: as a Subprocess. Only Communicate() and programs() are
//          not safe from several threads at once.
// Death:   a program whose reader has ended gets SIGPIPE, as in a shell.
// Source:  CPython subprocess, "Replacing shell pipeline".
class Pipeline {
 public:
  struct Program {
    std::vector<std::string> args;
    SubprocessOptions options = {};
  };

  struct Output {
    std::string out;                // of the last program
    std::vector<std::string> errs;  // of each
  };

  // Starts all of them. If one cannot be started the others are killed.
  //
  // Errors: those of Subprocess::Popen(), and
  //   kInvalidArgument  no programs; or one in the middle that has a stdin or
  //                     stdout of its own.
  static absl::StatusOr<Pipeline> Popen(std::vector<Program> programs);

  Pipeline(Pipeline&&) = default;
  Pipeline& operator=(Pipeline&&) = default;

  // As Subprocess::Communicate(), with the first one's stdin, the last one's
  // stdout and each one's stderr; waits for all. `max_output_bytes` and
  // `until_closed` are those of the last one.
  absl::StatusOr<Output> Communicate(
      std::string input = {},
      absl::Duration timeout = absl::InfiniteDuration());

  // Waits until all have ended.
  //
  // Errors:
  //   kDeadlineExceeded  one still runs.
  absl::Status Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Returns the return code of each, as Subprocess::Poll().
  std::vector<std::optional<int>> Poll();

  // As those of Subprocess, for each that still runs. Return the first error.
  absl::Status Terminate();
  absl::Status KillTree();

  // Each, in order. Their pipes are the pipeline's.
  std::vector<Subprocess>& programs() { return programs_; }

 private:
  Pipeline();

  void TakePipes();

  // Calls `call` with each; returns the first error.
  absl::Status ForEach(absl::FunctionRef<absl::Status(Subprocess&)> call);

  std::vector<Subprocess> programs_;
  std::unique_ptr<internal::GuardedExchange> pipes_;
};

}  // namespace mp

#endif  // MP_PROCESS_PIPELINE_H_
