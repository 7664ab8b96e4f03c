#ifndef MP_TESTING_SCRIPT_PEER_H_
#define MP_TESTING_SCRIPT_PEER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/testing/paired_benchmark.h"

namespace mp::testing {

// Another program that does what we do, as one side of a Pair.
//
// It reads lines "NAME RUNS" from stdin, does the thing of that name so many
// times, and answers each line with the seconds that this took, by its own
// clock. It ends with its stdin.
//
// Example:
//   ScriptPeer python({"python3", "-c", script});
//   benchmark.Run({.name = "start / CPython", .ours = Timed(StartAndJoin),
//                  .floor = python.Does("fork"), .target = 1.0 / 10});
//
// Owns:    the process, from the first measurement on. The destructor ends its
//          input and waits for it.
// Threads: not safe. What Does() returned must not be used after the peer went.
class ScriptPeer {
 public:
  // The program is looked for in PATH.
  explicit ScriptPeer(std::vector<std::string> command)
      : command_(std::move(command)) {}
  ScriptPeer(const ScriptPeer&) = delete;
  ScriptPeer& operator=(const ScriptPeer&) = delete;
  ~ScriptPeer();

  // Errors of the measurement:
  //   kUnimplemented  there is no such program here.
  //   kUnavailable    it ended.
  //   kDataLoss       it answered with something other than a time.
  Measure Does(const std::string& name);

 private:
  absl::Status EnsureRunning();
  absl::StatusOr<absl::Duration> Ask(const std::string& name, int runs);
  absl::StatusOr<std::string> ReadLine();

  const std::vector<std::string> command_;
  Fd socket_;
  pid_t pid_ = -1;
};

// CPython with a script of ours, given by its path from where "bazel run" runs a
// program. It is the distribution's: faster than a wrapper that looks for
// another, and the same everywhere.
//
// Errors:
//   kNotFound  there is no such script.
absl::StatusOr<std::unique_ptr<ScriptPeer>> PythonPeer(
    const std::string& script_path);

}  // namespace mp::testing

#endif  // MP_TESTING_SCRIPT_PEER_H_
