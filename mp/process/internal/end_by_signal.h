#ifndef MP_PROCESS_INTERNAL_END_BY_SIGNAL_H_
#define MP_PROCESS_INTERNAL_END_BY_SIGNAL_H_

#include "absl/time/time.h"

// How a process with children ends by SIGINT, SIGTERM or SIGHUP: its children
// first and then itself, by that very signal.
//
// A signal of the terminal's, Ctrl-C or a hang-up, goes to every process of the
// foreground job. The parent lets the children end by it; a daemon that does
// not gets SIGTERM, and in the end SIGKILL. It gives up on others, which may
// have chosen to ignore the signal, after some time.
//
// A signal that somebody sends may be for the whole job or for the parent
// alone; nobody can know. The parent waits a moment for children that have got
// it, terminates daemons, and leaves the others alone, as CPython does: they go
// on and can ask for their parent. There are two whom it passes the signal on
// to all its children, because they are sure not to have it: a session leader
// that the terminal is taken from (kernel drivers/tty/tty_jobctrl.c), and
// process 1 of a PID namespace, with which the kernel would kill them.
//
// While this is going on, another SIGINT ends the process at once; another
// SIGTERM or SIGHUP changes nothing, as some send both (man 1 timeout sends
// SIGTERM to the program and then to its group).
//
// Exit handlers do not run and stdio is not written out, as always in a process
// that ends by a signal.
namespace mp::internal {

// Installs the handlers, where the signal has its default action; a handler of
// the program's own, or SIG_IGN, is left alone.
void EndBySignalAfterChildren();

// Makes EndBySignalAfterChildren() do nothing.
void LeaveSignalsAlone();

// Does not return if this process is ending by a signal: a thread that replaces
// workers must not do so now.
void StandStillIfEnding();

// In a forked child: whether its parent was ending so at the fork, by a signal
// that came too early for the child.
bool ParentWasEnding();

struct EndPatience {
  // How long children may take to end by a signal that they have got
  // themselves, of the terminal's or perhaps of somebody's, before daemons are
  // told by SIGTERM.
  absl::Duration after_terminal = absl::Seconds(1);
  absl::Duration after_sender = absl::Milliseconds(200);
  // How long the whole may take before daemons get SIGKILL.
  absl::Duration in_all = absl::Seconds(5);
};

// For tests. Call it before any signal can come.
void SetEndPatience(const EndPatience& patience);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_END_BY_SIGNAL_H_
