#ifndef MP_PROCESS_INTERNAL_CRASH_HANDLER_H_
#define MP_PROCESS_INTERNAL_CRASH_HANDLER_H_

#include <sys/types.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/process/internal/crash_arena.h"

// How a process writes down its own end, for the one that started it.
namespace mp::internal {

// In a new process, before anything of the user's runs: takes its slot. From
// then on a crash writes the stack there, by handlers of SIGSEGV, SIGBUS,
// SIGILL, SIGFPE, SIGABRT, SIGSYS and SIGTRAP, and then ends the process by the
// same signal as ever, with its core. A std::terminate() writes the exception.
//
// Left alone are signals that have a handler or are ignored already, those of
// the sanitizers among them. A process that somebody forks from this one
// without us writes nothing.
//
// Of an overflow of the stack this sees that of the main thread, which gets an
// alternate one; in another thread the kernel kills the process without a word,
// unless that thread has called sigaltstack(2) itself.
//
// Source: man 7 signal-safety; absl/debugging/failure_signal_handler.h. Differs
//         from that: the stack comes from the unwind tables, as in a debugger,
//         since optimised programs have no frame pointers.
absl::Status AttachCrashSlot(CrashSlotTicket ticket);

// In a forked process that has a slot: waits until `starter` has a pidfd of it,
// or has died. One that ended before could be gone without a trace: a program
// that ignores SIGCHLD, or waits for any child, leaves no zombie.
void AwaitStarter(pid_t starter);

// In a child of the fork server: waits until its starter, known by a pidfd, has
// let it begin. Returns false if that has died before, or has started another
// in place of this one, of which it never heard.
bool StarterLetsBegin(const Fd& starter);

// Installs the handlers, once in this process and those forked from it, which
// without a slot do nothing. A server that does it spares its children that.
void InstallCrashHandlers();

// Writes down the exit code. For the last thing that a process does.
void NoteExitCode(int code);

// Does so whenever this process, or one forked from it that has a slot, calls
// exit(3). Call it before such a fork: a lock of the C library is needed.
void NoteExitCodeAtExit();

// Writes down what went wrong; the first call counts.
void NoteFailure(absl::string_view message);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CRASH_HANDLER_H_
