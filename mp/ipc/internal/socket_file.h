#ifndef MP_IPC_INTERNAL_SOCKET_FILE_H_
#define MP_IPC_INTERNAL_SOCKET_FILE_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/ipc/internal/socket_address.h"

namespace mp::internal {

// The file of a listening Unix socket, which goes with this object.
//
// What lies there already stays, and is an error, with one exception: a socket
// file of ours that no process has bound any more, left behind by a listener
// that was killed. It is replaced. Listeners that come at the same time are
// kept apart by a lock on the directory, which lasts for these moments.
//
// Owns:    the file, by its inode: not another one of its name. The directory
//          may be moved, and the process may change its own.
// Fork:    belongs to the process that made it; elsewhere it leaves the file.
// Death:   a process that is killed leaves its file, see above.
// Source:  man 7 unix: a socket file stays until it is unlinked.
class SocketFile {
 public:
  // Binds `socket` to the path, and has it listen.
  //
  // Errors:
  //   kAlreadyExists     something is there: a listener, or no socket.
  //   kNotFound          the directory is not there.
  //   kPermissionDenied  it may not be written.
  static absl::StatusOr<SocketFile> BindAndListen(int socket,
                                                  const SocketAddress& address,
                                                  const std::string& path,
                                                  int backlog);

  SocketFile(SocketFile&& other) noexcept
      : directory_(std::move(other.directory_)),
        name_(std::move(other.name_)),
        device_(other.device_),
        inode_(other.inode_),
        owner_(other.owner_) {}
  SocketFile& operator=(SocketFile&&) = delete;
  // The socket must still be open, so that the inode is not another's by now.
  ~SocketFile();

 private:
  SocketFile(Fd directory, std::string name)
      : directory_(std::move(directory)), name_(std::move(name)) {}

  absl::Status Bind(int socket, const SocketAddress& address);
  absl::Status RemoveIfStale(const SocketAddress& address) const;

  Fd directory_;
  std::string name_;  // in the directory
  dev_t device_ = 0;
  ino_t inode_ = 0;
  pid_t owner_ = -1;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_SOCKET_FILE_H_
