#include "mp/testing/terminal_job.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/testing/child.h"

namespace mp::testing {
namespace {

struct Pipe {
  Fd reader;
  Fd writer;
};

absl::StatusOr<Pipe> CreatePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

absl::StatusOr<Fd> OpenTerminal() {
  Fd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!terminal.is_open() || grantpt(terminal.get()) != 0 ||
      unlockpt(terminal.get()) != 0) {
    return absl::UnavailableError(
        ErrnoStatus(errno, "posix_openpt").ToString());
  }
  return terminal;
}

struct Setting {
  std::vector<char*> argv;
  TerminalJobOptions options;
  Fd terminal;  // the test's end
  Pipe output;
  Pipe news;
  Pipe leave;
};

template <typename T>
absl::string_view AsBytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

template <typename T>
bool ReadNews(const Fd& news, T& value) {
  return ReadUpTo(news.get(), reinterpret_cast<char*>(&value), sizeof(value))
             .value_or(0) == sizeof(value);
}

// Leaves the process a zombie, so that its pid stays its own.
ExitStatus AwaitEnd(pid_t pid) {
  siginfo_t info = {};
  RetryOnEintr([&] { return waitid(P_PID, pid, &info, WEXITED | WNOWAIT); });
  return {info.si_code == CLD_EXITED ? info.si_status : -info.si_status};
}

[[noreturn]] void RunProgram(const Setting& setting, int terminal) {
  setpgid(0, 0);
  tcsetpgrp(terminal, getpid());  // in the background still: needs SIGTTOU off
  signal(SIGTTOU, SIG_DFL);
  if (setting.options.ignores_hangup) signal(SIGHUP, SIG_IGN);
  dup2(terminal, STDIN_FILENO);
  dup2(terminal, STDOUT_FILENO);
  dup2(setting.output.writer.get(), STDERR_FILENO);
  WriteAll(setting.news.writer.get(), AsBytes(getpid())).IgnoreError();
  execv(setting.argv[0], setting.argv.data());
  _exit(126);
}

// What a shell does with a foreground job, and then, until it is to leave.
[[noreturn]] void RunShell(Setting& setting, int terminal) {
  const pid_t job = fork();
  if (job == 0) RunProgram(setting, terminal);
  setting.leave.writer.Close();
  const ExitStatus status = AwaitEnd(job);
  tcsetpgrp(terminal, getpid());
  WriteAll(setting.news.writer.get(), AsBytes(status)).IgnoreError();
  WriteAll(setting.output.writer.get(), "prompt\n").IgnoreError();
  setting.output.writer.Close();
  char byte;
  RetryOnEintr([&] { return read(setting.leave.reader.get(), &byte, 1); });
  _exit(0);
}

[[noreturn]] void LeadSession(Setting& setting) {
  setsid();
  const int terminal =
      open(ptsname(setting.terminal.get()), O_RDWR | O_CLOEXEC);
  setting.terminal.Close();
  if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) _exit(124);
  signal(SIGTTOU, SIG_IGN);
  if (setting.options.leads_session) RunProgram(setting, terminal);
  RunShell(setting, terminal);
}

}  // namespace

absl::StatusOr<TerminalJob> TerminalJob::Start(
    std::vector<std::string> arguments, TerminalJobOptions options) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    return ErrnoStatus(errno, "prctl(PR_SET_CHILD_SUBREAPER)");
  }
  Setting setting;
  for (std::string& text : arguments) setting.argv.push_back(text.data());
  setting.argv.push_back(nullptr);
  setting.options = options;
  MP_ASSIGN_OR_RETURN(setting.terminal, OpenTerminal());
  MP_ASSIGN_OR_RETURN(setting.output, CreatePipe());
  MP_ASSIGN_OR_RETURN(setting.news, CreatePipe());
  MP_ASSIGN_OR_RETURN(setting.leave, CreatePipe());
  const pid_t leader = fork();
  if (leader < 0) return ErrnoStatus(errno, "fork");
  if (leader == 0) LeadSession(setting);
  setting.news.writer.Close();
  TerminalJob job;
  if (!options.leads_session) job.shell_ = Child(leader);
  job.terminal_ = std::move(setting.terminal);
  job.output_ = std::move(setting.output.reader);
  job.news_ = std::move(setting.news.reader);
  job.leave_ = std::move(setting.leave.writer);
  if (ReadNews(job.news_, job.pid_)) return job;
  return absl::InternalError("TerminalJob: the shell ended");
}

TerminalJob::~TerminalJob() {
  if (!leave_.is_open()) return;  // moved from
  if (pid_ > 0) kill(-pid_, SIGKILL);
  if (pid_ > 0) Wait();
  leave_.Close();
  if (shell_.pid() > 0) shell_.Wait();
  while (RetryOnEintr([] { return waitpid(-1, nullptr, 0); }) > 0) continue;
}

ExitStatus TerminalJob::Wait() {
  if (status_.has_value()) return *status_;
  ExitStatus status;
  // Without a shell, the program is the test's own child or orphan.
  status_ = ReadNews(news_, status) ? status : AwaitEnd(pid_);
  return *status_;
}

absl::Status TerminalJob::Type(absl::string_view keys) {
  return WriteAll(terminal_.get(), keys);
}

void TerminalJob::HangUp() {
  terminal_.Close();
  if (shell_.pid() > 0) shell_.Wait();
}

std::string TerminalJob::ReadLine() {
  std::string line;
  char byte;
  while (ReadUpTo(output_.get(), &byte, 1).value_or(0) == 1 && byte != '\n') {
    line.push_back(byte);
  }
  return line;
}

std::string TerminalJob::ReadRest() {
  return ReadToEnd(output_.get()).value_or("(unreadable)");
}

std::string TerminalJob::ReadTerminal() {
  std::string text;
  char buffer[256];
  ssize_t got;
  while ((got = read(terminal_.get(), buffer, sizeof(buffer))) > 0) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

termios TerminalJob::Modes() const {
  termios modes = {};
  tcgetattr(terminal_.get(), &modes);
  return modes;
}

}  // namespace mp::testing
