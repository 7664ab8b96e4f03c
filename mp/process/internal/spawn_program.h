#ifndef MP_PROCESS_INTERNAL_SPAWN_PROGRAM_H_
#define MP_PROCESS_INTERNAL_SPAWN_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/internal/resolve_surroundings.h"

namespace mp::internal {

// A program that is to be executed.
struct ProgramRequest {
  std::string executable;  // searched for in PATH, unless it has a '/'
  std::vector<std::string> arguments;
  ResolvedSurroundings surroundings;
  std::vector<int> pass_fds;
  bool process_group = false;
  bool new_session = false;
  bool restore_signals = true;
  // Killed when the thread that calls SpawnProgram() ends.
  bool end_with_thread = false;
};

// Returns kInvalidArgument for a descriptor that is not open. To be called
// before anything is opened that could take its place.
absl::Status CheckPassFds(const std::vector<int>& fds);

struct SpawnedProgram {
  pid_t pid;
  Fd pidfd;
};

// Executes it, and returns once that is done.
//
// Errors:
//   kNotFound, kPermissionDenied, kFailedPrecondition
//                       there is no such program, it may not be executed, or it
//                       is none that the kernel knows.
//   kInvalidArgument    an argument has a NUL byte.
//   kResourceExhausted  no process, memory or descriptor left; too long a list
//                       of arguments.
//   and those of what cannot be applied of the surroundings.
absl::StatusOr<SpawnedProgram> SpawnProgram(ProgramRequest request);

// Returns where execvp(3) would look for a program, with this environment.
std::vector<std::string> SearchPath(
    const std::string& executable, const std::vector<std::string>& environment);

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_SPAWN_PROGRAM_H_
