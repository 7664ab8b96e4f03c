#include "mp/process/internal/process_exit.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/children.h"
#include "mp/process/internal/crash_arena.h"
#include "mp/process/internal/crash_handler.h"
#include "mp/process/internal/end_by_signal.h"
#include "mp/process/internal/fork_closed.h"
#include "mp/process/internal/fork_server.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/parent_link.h"
#include "mp/process/internal/runner.h"
#include "mp/process/log.h"

namespace mp::internal {
namespace {

// Of this process; nothing in most. An Fd would be closed by its destructor,
// while exit handlers still run.
int exit_pipe = -1;

void ReportExit(int code) {
  if (exit_pipe < 0) return;
  // Nobody may be there to read it any more.
  signal(SIGPIPE, SIG_IGN);
  WriteAll(exit_pipe, absl::string_view(reinterpret_cast<const char*>(&code),
                                        sizeof(code)))
      .IgnoreError();
}

std::atomic<bool> has_finished{false};

void FinishProcess() {
  has_finished = true;
  GetLogger().Log(LogLevel::kInfo, "process shutting down");
  RunFinalizers(/*min_priority=*/0);
  Children::Get().FinishAll();
  RunFinalizers(/*min_priority=*/std::nullopt);
  Children::Get().FinishAll();  // those that a finalizer has started
  ForkServer::Get().Stop();
}

// Runs after the exit handlers that the child has set, as the last that was set
// runs first, and before those that it has inherited.
void EndForkedProcess(int code, void*) {
  FinishProcess();
  GetLogger().Log(LogLevel::kInfo, "process exiting with exit code ",
                  code & 0xff);
  FlushStdio();
  NoteExitCode(code);
  ReportExit(code & 0xff);
  _exit(code & 0xff);
}

// In a child of any fork, the program's own too: children, fork server and
// life-line are those of the parent.
void ForgetParents() {
  CloseAfterFork();
  Children::Get().Forget();
  ForkServer::Get().Forget();
  ForgetLifeLine();
  CrashArena::Get().Forget();
}

// Before there are threads, as all that a forked child uses.
// Handlers run in a child in the order in which they were set, so that by then
// the mutexes are free that it takes.
[[maybe_unused]] const int watches_forks =
    (HoldAcrossForks(), pthread_atfork(nullptr, nullptr, ForgetParents));

}  // namespace

void WatchExitAndForks() {
  TakeOverFinalizersAtExit();
  static std::atomic<bool> watched{false};
  if (!watched.exchange(true)) {
    std::atexit(FinishProcess);
    EndBySignalAfterChildren();
  } else if (has_finished.exchange(false)) {
    // An exit handler, or a destructor, starts a process after all: once more.
    std::atexit(FinishProcess);
  }
  StandStillIfEnding();
}

void ReportExitTo(Fd pipe) { exit_pipe = pipe.Release(); }

void BecomeForkedProcess() {
  TakeOverFinalizersAtExit();
  on_exit(EndForkedProcess, nullptr);
}

void ExitProcess(int code) { std::exit(code & 0xff); }

}  // namespace mp::internal
