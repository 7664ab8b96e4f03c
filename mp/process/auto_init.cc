// Calls mp::Init() before main(), for a program whose main() cannot be edited.
//
// The linker's --wrap=main gives the program's start-up code __wrap_main() for
// the main() that it looks for, and us the real one as __real_main(), wherever
// it lies: in the program, in an archive or in a shared library. (man 1 ld)

#include "mp/process/init.h"

extern "C" {
// The names are the linker's.
// NOLINTBEGIN(bugprone-reserved-identifier)
int __real_main(int argc, char** argv, char** environment);

int __wrap_main(int argc, char** argv, char** environment) {
  mp::Init(argc, argv);
  return __real_main(argc, argv, environment);
}
// NOLINTEND(bugprone-reserved-identifier)
}
