// A program for program_conformance_test.
//
// usage: conformance_program START_METHOD JOB [ARGUMENT...]
//
// With MP_TEST_START_EARLY=START_METHOD it starts a process before main().

#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/process/context.h"
#include "mp/process/current_process.h"
#include "mp/process/init.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/process.h"

namespace {

// One write, so that lines of several processes do not mix.
void Say(absl::string_view line) {
  const std::string text = absl::StrCat(line, "\n");
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(99);
}

bool StartEarly() {
  const char* const method = getenv("MP_TEST_START_EARLY");
  if (method == nullptr) return false;
  mp::Process process({.context = mp::GetContext(method).value()},
                      [] { Say("early child"); });
  Say(absl::StrCat("early: ", process.Start().ToString()));
  return true;
}
[[maybe_unused]] const bool started_early = StartEarly();

void Run(mp::Context context) {
  mp::Process process({.context = context}, [] { Say("child"); });
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join());
  Say("main");
}

// Waits to be killed, with a daemon and with a child that is none.
void Hold(mp::Context context) {
  mp::Process daemon({.context = context, .daemon = true}, [] {
    Say("daemon");
    while (true) pause();
  });
  MP_CHECK_OK(daemon.Start());
  mp::Process child({.context = context}, [] {
    Say("child");
    MP_CHECK_OK(mp::ParentProcess::Get()->Join());
    Say("child saw it");
  });
  MP_CHECK_OK(child.Start());
  while (true) pause();
}

// Has a fork server, and a child that it has forked itself.
void RawFork(mp::Context context) {
  mp::Process process({.context = context}, [] {});
  MP_CHECK_OK(process.Start());
  MP_CHECK_OK(process.Join());
  const pid_t pid = fork();
  while (pid == 0) pause();
  Say(absl::StrCat("server ", mp::internal::ForkServer::Get().pid().value()));
  Say(absl::StrCat("forked ", pid));
  char byte;
  static_cast<void>(!read(STDIN_FILENO, &byte, 1));  // until it is let go
}

}  // namespace

int main(int argc, char** argv) {
  const absl::string_view job = argc > 2 ? argv[2] : "";
  mp::InitOptions options;
  if (job == "count_arguments") {
    options.child_setup = [](int argc, char**) {
      Say(absl::StrCat(argc, " arguments"));
    };
  }
  mp::Init(argc, argv, options);
  const absl::StatusOr<mp::Context> context = mp::GetContext(argv[1]);
  MP_CHECK_OK(context);
  if (job == "run" || job == "count_arguments") Run(*context);
  if (job == "hold") Hold(*context);
  if (job == "raw_fork") RawFork(*context);
}
