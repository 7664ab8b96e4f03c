#ifndef MP_TESTING_TERMINAL_JOB_H_
#define MP_TESTING_TERMINAL_JOB_H_

#include <sys/types.h>
#include <termios.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/testing/child.h"

namespace mp::testing {

struct TerminalJobOptions {
  // Whether the program is the first on the terminal, as under ssh(1) or xterm
  // -e. Otherwise a shell is, and runs it as its foreground job.
  bool leads_session = false;

  // Whether SIGHUP is ignored, as by nohup(1).
  bool ignores_hangup = false;
};

// A program in the foreground of a terminal, with the test at the keyboard.
//
// Its stdin and stdout are the terminal, its stderr a pipe, to which the shell
// too writes a line "prompt", as soon as the program that it has started has
// ended.
//
// Example:
//   TerminalJob job = *TerminalJob::Start({"path/to/program"});
//   EXPECT_EQ(job.ReadLine(), "ready");
//   MP_CHECK_OK(job.Type("\x03"));
//   EXPECT_THAT(job.Wait(), WasKilledBy(SIGINT));
//   EXPECT_EQ(job.ReadRest(), "prompt\n");
//
// Owns:    the program and what is left of its process group, which is killed,
//          and all orphans: the test becomes their parent (man 2 prctl,
//          PR_SET_CHILD_SUBREAPER), and must have no children of its own.
// Threads: not safe; start it before there are others.
class TerminalJob {
 public:
  // Errors:
  //   kUnavailable  there are no pseudo-terminals here.
  static absl::StatusOr<TerminalJob> Start(std::vector<std::string> arguments,
                                           TerminalJobOptions options = {});

  TerminalJob(TerminalJob&&) = default;
  TerminalJob& operator=(TerminalJob&&) = delete;
  ~TerminalJob();

  // The program's pid, and that of its process group.
  pid_t pid() const { return pid_; }

  absl::Status Type(absl::string_view keys);

  // Takes the terminal away, and waits until the shell, if there is one, is
  // gone and the kernel has told the job.
  void HangUp();

  // Waits for the end of the program; others of the job may be left. Later
  // calls repeat the result.
  ExitStatus Wait();

  // Returns the next line of stderr, without its end.
  std::string ReadLine();

  // Returns what is left of stderr, once none of the job is left to write any.
  std::string ReadRest();

  // Returns what is on the terminal and has not been read yet.
  std::string ReadTerminal();

  termios Modes() const;

 private:
  TerminalJob() = default;

  Child shell_{-1};
  pid_t pid_ = -1;
  std::optional<ExitStatus> status_;
  Fd terminal_;
  Fd output_;
  Fd news_;   // of the shell's: the program's pid, then its status
  Fd leave_;  // the shell stays until this is closed
};

}  // namespace mp::testing

#endif  // MP_TESTING_TERMINAL_JOB_H_
