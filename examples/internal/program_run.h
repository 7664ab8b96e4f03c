#ifndef EXAMPLES_INTERNAL_PROGRAM_RUN_H_
#define EXAMPLES_INTERNAL_PROGRAM_RUN_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "mp/base/fd.h"
#include "mp/testing/child.h"

namespace examples {

struct ProgramOptions {
  // The working directory. Default: that of the test.
  std::string folder = {};

  // Called in the new process, in its folder, before the program.
  std::function<void()> prepare = nullptr;
};

struct ProgramResult {
  mp::testing::ExitStatus status;
  std::string out;
  std::string err;
};

// A program that runs as a child of the test.
//
// Example:
//   ProgramRun run({"/bin/cat", "a"}, {.folder = tree.path()});
//   EXPECT_EQ(run.Wait().out, "content of a");
//
// Its stdin is empty, and its stdout and stderr are files. It is found before
// `prepare` runs, so that this may be a user who could not find it.
//
// Owns: the process. The destructor kills it, and it alone.
class ProgramRun {
 public:
  explicit ProgramRun(const std::vector<std::string>& command,
                      const ProgramOptions& options = {});

  pid_t pid() const { return child_.pid(); }
  void Kill(int signal) { child_.Kill(signal); }
  ProgramResult Wait();

 private:
  mp::Fd out_;
  mp::Fd err_;
  mp::testing::Child child_;
};

// Returns what a program that is to succeed prints.
std::string OutputOf(const std::vector<std::string>& command,
                     const ProgramOptions& options = {});

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_PROGRAM_RUN_H_
