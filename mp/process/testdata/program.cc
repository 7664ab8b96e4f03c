// A program for program_test.
//
// usage: program START_METHOD JOB, one of those in main()

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/socket_pair.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/process.h"
#ifndef MP_TEST_NO_INIT
#include "mp/process/init.h"
#endif

namespace {

// One write, so that lines of several processes do not mix.
void Say(absl::string_view line) {
  const std::string text = std::string(line) + "\n";
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(99);
}

void Child() { Say("child"); }

void Daemon(mp::StartMethod method) {
  Say("daemon");
  // A thread ends with the program only; it is not to hold it up.
  if (method != mp::StartMethod::kThread) pause();
}

void StubbornDaemon(mp::StartMethod method) {
  signal(SIGTERM, SIG_IGN);
  Daemon(method);
}

void RunChildren(mp::Context context) {
  std::vector<mp::Process> processes;
  for (int i = 0; i < 3; ++i) {
    processes.emplace_back(mp::ProcessOptions{.context = context}, Child);
    MP_CHECK_OK(processes.back().Start());
  }
  for (mp::Process& process : processes) MP_CHECK_OK(process.Join());
}

void ForgetChild(mp::Context context) {
  mp::Process process({.context = context}, [] {
    usleep(100'000);  // outlives main(), as a rule
    Child();
  });
  MP_CHECK_OK(process.Start());
}

// As an exit handler that was set before the first start.
void StartLate() {
  mp::Process process([] {
    usleep(200'000);
    Say(mp::ParentProcess::Get()->IsAlive() ? "child" : "orphan");
  });
  MP_CHECK_OK(process.Start());
}

void ForgetDaemon(mp::Context context, void (*daemon)(mp::StartMethod)) {
  mp::Process process({.context = context, .daemon = true}, daemon,
                      context.start_method());
  MP_CHECK_OK(process.Start());
  usleep(300'000);  // it has said its word by then, as a rule
}

// Sends a child a descriptor to which it writes.
void Echo(mp::Context context, bool close_stdio) {
  if (close_stdio) {
    close(STDIN_FILENO);
    close(STDERR_FILENO);
  }
  absl::StatusOr<mp::SocketPair> sockets = mp::CreateSocketPair();
  MP_CHECK_OK(sockets);
  mp::Process process(
      {.context = context},
      [](const mp::Fd& fd) {
        char byte = '?';
        if (read(fd.get(), &byte, 1) == 1 && byte == '!') Child();
      },
      std::move(sockets->second));
  MP_CHECK_OK(process.Start());
  if (write(sockets->first.get(), "!", 1) != 1) _exit(95);
  MP_CHECK_OK(process.Join());
}

// Closes what it has not opened, as a careful program may do.
void CloseAll(mp::Context context) {
  for (int fd = 3; fd < 100; ++fd) close(fd);
  mp::Process process({.context = context}, Child);
  const absl::Status started = process.Start();
  if (!started.ok()) return Say(started.ToString());
  MP_CHECK_OK(process.Join());
}

// Puts something else in the program's place.
void ReplaceFile(const char* path) {
  if (unlink(path) != 0) _exit(97);
  const int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);
  if (write(file, "#!/bin/false\n", 13) != 13) _exit(96);
  close(file);
}

void RunOne(mp::Context context) {
  mp::Process process({.context = context}, Child);
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join());
}

}  // namespace

int main(int argc, char** argv) {
#ifndef MP_TEST_NO_INIT
  const std::string job_name = argc == 3 ? argv[2] : "";
  mp::InitOptions options;
  if (job_name == "setup") {
    options.child_setup = [](int argc, char** argv) {
      Say(std::string("setup ") + (argc == 3 ? argv[2] : "?"));
    };
  }
  if (job_name == "throwing_setup") {
    options.child_setup = [](int, char**) { throw 42; };
  }
  mp::Init(argc, argv, options);
#endif
  const absl::string_view job = argc == 3 ? argv[2] : "";
  if (job != "setup") Say("main");
  const absl::StatusOr<mp::Context> context = mp::GetContext(argv[1]);
  MP_CHECK_OK(context);
  if (job == "children") RunChildren(*context);
  if (job == "forgotten") ForgetChild(*context);
  if (job == "late") {
    MP_CHECK_OK(mp::SetStartMethod(argv[1]));
    std::atexit(StartLate);
    RunOne(*context);
  }
  if (job == "daemon") ForgetDaemon(*context, Daemon);
  if (job == "stubborn") ForgetDaemon(*context, StubbornDaemon);
  if (job == "closed") CloseAll(*context);
  if (job == "echo" || job == "echo_later") Echo(*context, job != "echo");
  if (job == "replaced") ReplaceFile(argv[0]);
  if (job == "replaced" || job == "setup" || job == "throwing_setup")
    RunOne(*context);
  if (job == "setup") Say("main");
}
