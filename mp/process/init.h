#ifndef MP_PROCESS_INIT_H_
#define MP_PROCESS_INIT_H_

#include <functional>

namespace mp {

struct InitOptions {
  // Called in each new process of the start methods spawn and forkserver before
  // its function, with the arguments of the program: the place to parse flags
  // or set up logging, which main() does below Init() and so not for children.
  std::function<void(int argc, char** argv)> child_setup = nullptr;
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
// For a program whose main() cannot be edited, depend on //mp/process:auto_init
// instead. Later calls do nothing.
//
// Source: CPython multiprocessing.freeze_support().
void Init(int argc, char** argv, const InitOptions& options = {});

}  // namespace mp

#endif  // MP_PROCESS_INIT_H_
