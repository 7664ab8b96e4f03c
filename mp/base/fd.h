#ifndef MP_BASE_FD_H_
#define MP_BASE_FD_H_

#include <utility>

#include "absl/status/statusor.h"

namespace mp {

// Owns one file descriptor and closes it when it goes away.
//
// Example:
//   mp::Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
//   if (!null.is_open()) return mp::ErrnoStatus(errno, "open(\"/dev/null\")");
//
// Owns:    the descriptor; moves, never copies. Dup() makes a second one.
// Threads: as an int: not safe while another thread moves or closes it.
// Fork:    the forked child owns its own copy of the descriptor.
// Source:  man 2 close.
class Fd {
 public:
  Fd() = default;

  // Takes `fd` over. A negative `fd` owns nothing.
  explicit Fd(int fd) : fd_(fd) {}

  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = other.Release();
    }
    return *this;
  }
  ~Fd() { Close(); }

  // Returns the descriptor, which stays owned, or -1.
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

  // Gives the descriptor away, or -1.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  // Closes the descriptor now. Keeps errno. May be called again.
  void Close();

  // Returns a second descriptor for the same open file, close-on-exec and none
  // of stdin, stdout and stderr.
  //
  // Errors:
  //   kInvalidArgument    there is nothing to duplicate.
  //   kResourceExhausted  the process has no descriptor left (ulimit -n).
  // Source: man 2 fcntl, F_DUPFD_CLOEXEC.
  absl::StatusOr<Fd> Dup() const { return DupOf(fd_); }

  // The same for a descriptor that somebody else owns.
  static absl::StatusOr<Fd> DupOf(int fd);

  // Returns the same open file at 3 or above, close-on-exec, so that it is not
  // taken for the stdin, stdout or stderr of a process that has closed its own.
  // Where there is no descriptor left it stays where it is.
  static Fd AboveStdio(Fd fd);

 private:
  int fd_ = -1;
};

}  // namespace mp

#endif  // MP_BASE_FD_H_
