#ifndef MP_PROCESS_SUBPROCESS_H_
#define MP_PROCESS_SUBPROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/fd.h"
#include "mp/process/process_report.h"
#include "mp/process/surroundings.h"

namespace mp {

struct SubprocessOptions {
  // The file to execute, if it is not what the arguments begin with.
  std::string executable = {};

  // Working directory, environment, limits and so on. stdin, stdout and stderr
  // are the caller's, unless they are said here to be something else, such as
  // Stdio::Pipe(); one that the caller has closed is /dev/null.
  Surroundings surroundings = {};

  // Descriptors that it inherits, under the same numbers, besides 0 to 2.
  std::vector<int> pass_fds = {};

  // Makes it the first of a new process group, or session (which implies the
  // group). Ctrl-C at the terminal does not reach it then.
  bool process_group = false;
  bool new_session = false;

  // Has it killed when the caller ends, however that happens, and terminated
  // when the caller exits. Costs a thread that sleeps for as long as it runs.
  // Without effect on a program that changes its user, as sudo does.
  bool end_with_parent = false;

  // Sets SIGPIPE and SIGXFSZ to their defaults, should the caller ignore them.
  bool restore_signals = true;

  // How much Communicate() takes of stdout, and of stderr.
  size_t max_output_bytes = ~size_t{0};

  // Whether Communicate() reads until all that have inherited a pipe are gone,
  // and not just until the program has ended.
  bool until_closed = false;
};

// What a program wrote to the pipes that it had.
struct SubprocessOutput {
  std::string out;
  std::string err;
};

// A program that has ended.
struct CompletedSubprocess {
  std::vector<std::string> args;
  // As Subprocess::returncode().
  std::optional<int> returncode;
  std::string out;
  std::string err;

  // Returns kUnknown, with the return code and the end of `err`, unless it
  // returned 0.
  absl::Status Check() const;
};

struct RunOptions {
  SubprocessOptions program = {};

  // What it reads from stdin, by a pipe.
  std::optional<std::string> input = {};

  // Takes stdout and stderr by pipes, unless `program` says where they lead.
  bool capture_output = false;

  // How long it may run. Then it is killed, with all that it has started.
  absl::Duration timeout = absl::InfiniteDuration();
};

// A program that runs in a process of its own.
//
// Example:
//   MP_ASSIGN_OR_RETURN(std::string kernel,
//                       Subprocess::CheckOutput({"uname", "-r"}));
//
//   MP_ASSIGN_OR_RETURN(
//       Subprocess sort,
//       Subprocess::Popen({"sort"}, {.surroundings = {
//           .stdin_from = Stdio::Pipe(), .stdout_to = Stdio::Pipe()}}));
//   MP_ASSIGN_OR_RETURN(SubprocessOutput sorted,
//                       sort.Communicate("b\na\n", absl::Seconds(10)));
//
// The arguments go to the program as they are: there is no shell. It is
// searched for in the PATH that it gets itself, as execvp(3) does. It begins
// with no signal blocked and none caught, and inherits nothing but stdin,
// stdout, stderr and what `pass_fds` lists.
//
// Owns:    the pipes, and the program until it has ended. One that runs on when
//          its Subprocess goes away is waited for when this process exits, as
//          by Process: what it was told to do may matter. So that this ends,
//          its pipes are closed before, with the Subprocess or at exit. One
//          with `end_with_parent` is terminated instead.
// Threads: Wait, Poll, Report, returncode and the signals are safe from
//          several threads at once; the rest is not.
// Fork:    belongs to the process that made it: elsewhere, and after a move,
//          its methods are kFailedPrecondition. A child of the start method
//          fork closes its copies of the pipes, but not one with a ForkContext.
// Death:   a program that is killed has the return code -N. One that ends, or
//          closes its stdin, ends Communicate() without an error.
// Source:  CPython subprocess.Popen. Differs: no shell, no preexec_fn; the end
//          of the program, not of all who have its pipes, ends communicate().
class Subprocess {
 public:
  using Options = SubprocessOptions;

  // Starts a program; the first of `args` is its name.
  //
  // Errors:
  //   kNotFound            there is no such program.
  //   kPermissionDenied    it may not be executed.
  //   kFailedPrecondition  it is none that the kernel can execute.
  //   kInvalidArgument     no arguments, or one with a NUL byte; `pass_fds` has
  //                        one that is closed.
  //   kResourceExhausted   no process, memory or descriptor left.
  //   and those of Surroundings.
  static absl::StatusOr<Subprocess> Popen(std::vector<std::string> args,
                                          Options options = {});

  // Runs a program to its end.
  //
  // Errors: those of Popen(), and
  //   kDeadlineExceeded   it took longer than the timeout, and was killed.
  //   kResourceExhausted  it wrote more than `max_output_bytes`; the same.
  // Source: CPython subprocess.run().
  static absl::StatusOr<CompletedSubprocess> Run(std::vector<std::string> args,
                                                 RunOptions options = {});

  // The same, but a return code other than 0 is an error too: kUnknown.
  // CheckOutput() returns what it wrote to stdout.
  //
  // Source: CPython subprocess.check_call(), check_output().
  static absl::Status CheckCall(std::vector<std::string> args,
                                RunOptions options = {});
  static absl::StatusOr<std::string> CheckOutput(std::vector<std::string> args,
                                                 RunOptions options = {});

  Subprocess(Subprocess&&) noexcept;
  Subprocess& operator=(Subprocess&&) noexcept;
  ~Subprocess();

  // Writes `input` to its stdin, reads its stdout and stderr, all at once and
  // as far as they are pipes, and waits for its end.
  //
  // Errors:
  //   kDeadlineExceeded   it still runs, or reads, or writes. Nothing is lost:
  //                       call it again, with no input, to go on.
  //   kResourceExhausted  it wrote more than `max_output_bytes`, and still
  //   runs:
  //                       call KillTree().
  // Source: CPython Popen.communicate().
  absl::StatusOr<SubprocessOutput> Communicate(
      std::string input = {},
      absl::Duration timeout = absl::InfiniteDuration());

  // Waits until it has ended. May be called again. A program that waits for
  // somebody to read its pipe does not end: call Communicate().
  //
  // Errors:
  //   kDeadlineExceeded  it still runs.
  absl::Status Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Returns nullopt while it runs; then the exit code, 0 to 255, or -N if
  // signal N killed it. Nullopt also if a wait elsewhere in this program, such
  // as waitpid(-1), took that. returncode() does not look whether it has ended
  // meanwhile.
  std::optional<int> Poll();
  std::optional<int> returncode() const;

  // Sends a signal, SIGTERM, SIGKILL. No-ops once it has ended. What it has
  // started is not affected.
  absl::Status SendSignal(int signal);
  absl::Status Terminate();
  absl::Status Kill();

  // Kills it and all that it has started: its descendants, whatever group or
  // session they have made themselves; and, with `process_group` or
  // `new_session`, all in its group or session. (It misses a daemon that has
  // left both, its parent having ended.) They are stopped first, so that none
  // gets away. Returns when they have ended; call Wait() then.
  //
  // Errors:
  //   kPermissionDenied    one has another user; all others are killed.
  //   kFailedPrecondition  it has been waited for: what it has left behind can
  //                        no longer be told from others. Or there is no /proc,
  //                        and only the program is killed.
  absl::Status KillTree();

  // Returns how it ended, and what it used.
  //
  // Errors:
  //   kDeadlineExceeded  it still runs.
  absl::StatusOr<ProcessReport> Report();

  // -1 after a move.
  pid_t pid() const;

  // A descriptor, not to be closed, that polls as readable once it has ended;
  // -1 after a move.
  int sentinel() const;

  // The caller's ends of its pipes, to read, write, close or take away; not
  // open where there is none. A write to stdin_pipe() may raise SIGPIPE.
  Fd& stdin_pipe();
  Fd& stdout_pipe();
  Fd& stderr_pipe();

 private:
  struct State;

  explicit Subprocess(std::unique_ptr<State> state);

  absl::Status CheckUsable(absl::string_view operation) const;

  std::unique_ptr<State> state_;
};

}  // namespace mp

#endif  // MP_PROCESS_SUBPROCESS_H_
