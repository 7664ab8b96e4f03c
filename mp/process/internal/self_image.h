#ifndef MP_PROCESS_INTERNAL_SELF_IMAGE_H_
#define MP_PROCESS_INTERNAL_SELF_IMAGE_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"

// This program, executed again: the very file that runs, even if its path has
// been given to another since.
namespace mp::internal {

// What the new process is to do in mp::Init().
enum class Role { kChild, kForkServer };

// Keeps the program and its arguments for later. Called by Init(), once.
void RememberSelf(int argc, char** argv);

// Whether RememberSelf() has been called.
bool SelfIsKnown();

// Returns kFailedPrecondition, with what to do, if it has not.
absl::Status CheckSelfIsKnown();

struct ExecutedProcess {
  pid_t pid;
  Fd pidfd;
};

// Has ExecuteSelf() execute another file, found by its path each time, in place
// of the program that runs; with "" that again.
//
// Errors: those of access(2) with X_OK, and of a folder.
absl::Status SetSelfExecutable(absl::string_view path);

// Executes this program with the arguments and working directory of the caller,
// its environment unless another is given, and no signal blocked. Of its
// descriptors the new process has 0 to 2 and `socket`, which TakeRole() will
// return there.
//
// Blocks for as long as the kernel takes to find and map the program.
//
// Errors:
//   kFailedPrecondition  Init() has not been called.
//   kResourceExhausted   no process, memory or descriptor left.
// Source: man 2 clone, CLONE_VFORK; man 2 execveat, AT_EMPTY_PATH.
absl::StatusOr<ExecutedProcess> ExecuteSelf(
    Role role, int socket,
    const std::optional<std::vector<std::string>>& environment = std::nullopt);

// In such a process: what to do, and the socket. Removes every trace of it from
// the environment. Nothing in any other process.
struct TakenRole {
  Role role;
  Fd socket;
};
std::optional<TakenRole> TakeRole();

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_SELF_IMAGE_H_
