#include "examples/internal/program_run.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/testing/child.h"

namespace examples {
namespace {

[[noreturn]] void Execute(int program, const std::vector<std::string>& command,
                          const ProgramOptions& options) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  if (options.folder.empty() || chdir(options.folder.c_str()) == 0) {
    if (options.prepare) options.prepare();
    fexecve(program, arguments.data(), environ);
  }
  std::perror(command[0].c_str());
  _exit(127);
}

mp::testing::Child Start(const std::vector<std::string>& command,
                         const ProgramOptions& options, const mp::Fd& out,
                         const mp::Fd& err) {
  const mp::Fd program(open(command[0].c_str(), O_PATH | O_CLOEXEC));
  const mp::Fd in(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(in.get(), STDIN_FILENO);
    dup2(out.get(), STDOUT_FILENO);
    dup2(err.get(), STDERR_FILENO);
    Execute(program.get(), command, options);
  }
  EXPECT_GT(pid, 0);
  return mp::testing::Child(pid);
}

std::string ContentOf(const mp::Fd& file) {
  EXPECT_EQ(lseek(file.get(), 0, SEEK_SET), 0);
  return mp::ReadToEnd(file.get()).value();
}

}  // namespace

ProgramRun::ProgramRun(const std::vector<std::string>& command,
                       const ProgramOptions& options)
    : out_(memfd_create("stdout", MFD_CLOEXEC)),
      err_(memfd_create("stderr", MFD_CLOEXEC)),
      child_(Start(command, options, out_, err_)) {}

ProgramResult ProgramRun::Wait() {
  const mp::testing::ExitStatus status = child_.Wait();
  return {status, ContentOf(out_), ContentOf(err_)};
}

std::string OutputOf(const std::vector<std::string>& command,
                     const ProgramOptions& options) {
  const ProgramResult result = ProgramRun(command, options).Wait();
  EXPECT_THAT(result.status, mp::testing::ExitedWith(0)) << result.err;
  return result.out;
}

}  // namespace examples
