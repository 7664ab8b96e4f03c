#ifndef MP_PROCESS_EXECUTABLE_H_
#define MP_PROCESS_EXECUTABLE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mp {

// Has new processes of the start methods spawn and forkserver execute the file
// at `path`, in place of the program that runs: a script that sets the program
// up under a debugger or Valgrind, say, or a stripped copy. With "" it is the
// program itself again.
//
// Example:
//   // run_in_valgrind: exec valgrind --trace-children=no ./server "$@"
//   MP_CHECK_OK(mp::SetExecutable("./run_in_valgrind"));
//
// The file gets this program's arguments, and has to end in this very program
// (functions are found by the build-id of their image) with the environment
// and the descriptors that it was given. A fork server that runs already stays
// as it is.
//
// Errors:
//   kNotFound          there is no such file.
//   kPermissionDenied  it cannot be executed.
//   kInvalidArgument   it is a folder.
// Source: CPython multiprocessing.set_executable().
absl::Status SetExecutable(absl::string_view path);

}  // namespace mp

#endif  // MP_PROCESS_EXECUTABLE_H_
