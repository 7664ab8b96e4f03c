#include "mp/process/internal/process_exit.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/image.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/trampoline.h"

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

// What a forked child needs whole, whatever other threads are doing.
void BeforeFork() {
  LockImagesForFork();
  LockTrampolinesForFork();
}

void AfterForkInParent() {
  UnlockTrampolinesInParent();
  UnlockImagesInParent();
}

// In a child of any fork, the program's own too: children, fork server and the
// locks of threads that are not there are those of the parent.
void AfterForkInChild() {
  InheritTrampolines();
  InheritImages();
  Children::Get().Forget();
  ForkServer::Get().Forget();
  ForgetLifeLine();
}

}  // namespace

void WatchExitAndForks() {
  static const bool watched =
      (std::atexit(FinishChildren),
       pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild), true);
  static_cast<void>(watched);
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
