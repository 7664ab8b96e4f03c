#include "mp/ipc/internal/socket_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/socket_address.h"

namespace mp::internal {
namespace {

// How long another process may hold the lock, which takes microseconds unless
// it is stopped.
constexpr absl::Duration kLockPatience = absl::Seconds(5);

// Holds the lock of a directory. Where there is none to be had, as there may
// not be on a network's file system, it does without.
class DirectoryLock {
 public:
  explicit DirectoryLock(int directory) : directory_(directory) {
    const Deadline deadline(kLockPatience);
    while (flock(directory_, LOCK_EX | LOCK_NB) != 0 &&
           (errno == EWOULDBLOCK || errno == EINTR) && !deadline.Expired()) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  ~DirectoryLock() { flock(directory_, LOCK_UN); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  const int directory_;
};

// Whether a process has a socket bound to this file. A socket of another type
// is told so without a connection being made (Linux net/unix/af_unix.c,
// unix_find_bsd): the listener does not notice.
bool IsBound(const SocketAddress& address) {
  const Fd probe(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return connect(probe.get(), address.get(), address.size) == 0 ||
         errno != ECONNREFUSED;
}

}  // namespace

absl::StatusOr<SocketFile> SocketFile::BindAndListen(
    int socket, const SocketAddress& address, const std::string& path,
    int backlog) {
  const size_t slash = path.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Fd opened(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // One that cannot be read can still be used, but not be locked.
  if (!opened.is_open() && errno == EACCES) {
    opened = Fd(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  if (!opened.is_open()) {
    return ErrnoStatus(errno, absl::StrCat("open(\"", directory, "\")"));
  }
  SocketFile file(Fd::AboveStdio(std::move(opened)),
                  slash == std::string::npos ? path : path.substr(slash + 1));
  const DirectoryLock lock(file.directory_.get());
  MP_RETURN_IF_ERROR(file.Bind(socket, address));
  if (listen(socket, backlog) != 0) return ErrnoStatus(errno, "listen");
  return file;
}

absl::Status SocketFile::Bind(int socket, const SocketAddress& address) {
  if (bind(socket, address.get(), address.size) != 0) {
    if (errno != EADDRINUSE) return ErrnoStatus(errno, "bind");
    MP_RETURN_IF_ERROR(RemoveIfStale(address));
    if (bind(socket, address.get(), address.size) != 0) {
      return ErrnoStatus(errno, "bind");
    }
  }
  struct stat file;
  if (fstatat(directory_.get(), name_.c_str(), &file, AT_SYMLINK_NOFOLLOW) !=
      0) {
    return ErrnoStatus(errno, "fstatat");
  }
  device_ = file.st_dev;
  inode_ = file.st_ino;
  owner_ = getpid();
  return absl::OkStatus();
}

absl::Status SocketFile::RemoveIfStale(const SocketAddress& address) const {
  struct stat file;
  if (fstatat(directory_.get(), name_.c_str(), &file, AT_SYMLINK_NOFOLLOW) !=
      0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, "fstatat");
  }
  if (!S_ISSOCK(file.st_mode)) {
    return absl::AlreadyExistsError(
        "there is a file that is no socket; take another path");
  }
  if (IsBound(address)) {
    return absl::AlreadyExistsError("another listener is there");
  }
  if (file.st_uid != geteuid()) {
    return absl::AlreadyExistsError(
        absl::StrCat("there is a socket file that a process of user ",
                     file.st_uid, " has left behind; remove it"));
  }
  if (unlinkat(directory_.get(), name_.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "unlinkat");
  }
  return absl::OkStatus();
}

SocketFile::~SocketFile() {
  if (!directory_.is_open() || owner_ != getpid()) return;
  struct stat file;
  if (fstatat(directory_.get(), name_.c_str(), &file, AT_SYMLINK_NOFOLLOW) ==
          0 &&
      S_ISSOCK(file.st_mode) && file.st_dev == device_ &&
      file.st_ino == inode_) {
    unlinkat(directory_.get(), name_.c_str(), 0);
  }
}

}  // namespace mp::internal
