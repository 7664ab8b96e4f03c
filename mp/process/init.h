#ifndef MP_PROCESS_INIT_H_
#define MP_PROCESS_INIT_H_

#include <functional>

namespace mp {

struct InitOptions {
  // Called in each new process of the start methods spawn and forkserver before
  // its function, with the arguments of the program: the place to parse flags
  // or set up logging, which main() does below Init() and so not for children.
  std::function<void(int argc, char** argv)> child_setup = nullptr;

  // Whether a process that has children ends in order by SIGINT, SIGTERM and
  // SIGHUP: by Ctrl-C or a hang-up of the terminal, when its children and
  // daemons have ended, so that the shell's prompt comes last; by a signal that
  // somebody sends, when its daemons have. Then it dies of the signal, as ever.
  // A second Ctrl-C ends it at once; else it takes 6 s at most.
  //
  // As always with death by a signal, exit handlers and destructors do not run,
  // and what is buffered in stdio is lost.
  //
  // A handler is installed at the first Process::Start(), and only for a signal
  // that has its default action then: one that the program handles or ignores
  // by then, or later, is the program's. Say false to keep mp's hands off.
  bool handle_signals = true;
};

// Must be called once, as the first thing in main(), by a program that starts
// processes by spawn or forkserver.
//
// Such a process is this program, executed again. In it, Init() runs the
// process's function and exits: it does not return, so that nothing below it
// runs twice. In the program itself it returns at once.
//
// Example:
//   int main(int argc, char** argv) {
//     mp::Init(argc, argv);
//     ...
//   }
//
// Should stdin, stdout or stderr be closed, it is opened on /dev/null, in the
// direction that nobody uses: reading or writing it still fails, and no other
// file can take its place by accident.
//
// A program that closes descriptors that it does not know, as by closefrom(3),
// must do so before: some of mp's own stay open from here on.
//
// For a program whose main() cannot be edited, depend on //mp/process:auto_init
// instead. Later calls do nothing.
//
// Source: CPython multiprocessing.freeze_support().
void Init(int argc, char** argv, const InitOptions& options = {});

}  // namespace mp

#endif  // MP_PROCESS_INIT_H_
