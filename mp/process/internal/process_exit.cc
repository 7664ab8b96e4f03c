#include "mp/process/internal/process_exit.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/runner.h"

namespace mp::internal {
namespace {

// Of this process; nothing in most.
Fd& ExitPipe() {
  static Fd& pipe = *new Fd;  // outlives exit handlers
  return pipe;
}

void ReportExit(int code) {
  if (!ExitPipe().is_open()) return;
  // Nobody may be there to read it any more.
  signal(SIGPIPE, SIG_IGN);
  WriteAll(
      ExitPipe().get(),
      absl::string_view(reinterpret_cast<const char*>(&code), sizeof(code)))
      .IgnoreError();
}

void FinishChildren() {
  Children::Get().FinishAll();
  ForkServer::Get().Stop();
}

}  // namespace

void FinishChildrenAtExit() {
  static const int registered = std::atexit(FinishChildren);
  static_cast<void>(registered);
}

void ReportExitTo(Fd pipe) { ExitPipe() = std::move(pipe); }

void ExitForked(int code) {
  FinishChildren();
  FlushStdio();
  ReportExit(code & 0xff);
  _exit(code & 0xff);
}

void ExitProgram(int code) { std::exit(code & 0xff); }

}  // namespace mp::internal
