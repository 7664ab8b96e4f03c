#ifndef MP_PROCESS_INTERNAL_START_FLOOR_H_
#define MP_PROCESS_INTERNAL_START_FLOOR_H_

#include <sys/types.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"

// What the kernel takes for the start, the end and the reaping of a process
// that does nothing: the bare system calls, for benchmarks to compare with.
namespace mp::internal {

// Must be the first thing in main(): a process that a floor has executed does
// its part here and does not return.
void ServeStartFloor(int argc, char** argv);

// fork(), _exit() in the child, waitpid().
absl::Status ForkAndWait();

// posix_spawn() of this program, which exits in ServeStartFloor(): after the
// same dynamic linking and static initialisation as a child of ours.
absl::Status SpawnAndWait();

// A server that forks children which exit at once. It is this program, executed
// before anything else is done in it.
//
// Owns: the server, which ends with this object.
class BareForkServer {
 public:
  enum class Parent {
    // CLONE_PARENT: the client waits for the child by its pidfd.
    kClient,
    // The server waits for the child, and tells the client in a second message.
    kServer,
  };

  static absl::StatusOr<BareForkServer> Start(Parent parent);

  BareForkServer(BareForkServer&&) = default;
  ~BareForkServer();

  // Has a child made, and waits for its end.
  absl::Status StartAndJoin();

 private:
  BareForkServer(Parent parent, Fd socket, pid_t pid)
      : parent_(parent), socket_(std::move(socket)), pid_(pid) {}

  Parent parent_;
  Fd socket_;
  pid_t pid_;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_START_FLOOR_H_
