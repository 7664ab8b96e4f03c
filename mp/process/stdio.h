#ifndef MP_PROCESS_STDIO_H_
#define MP_PROCESS_STDIO_H_

#include <memory>
#include <string>
#include <utility>

#include "mp/base/fd.h"

namespace mp {

// Where the stdin, stdout or stderr of a new process leads.
//
// Example:
//   Surroundings surroundings = {
//       .stdin_from = Stdio::File("words", Stdio::Mode::kRead),
//       .stdout_to = Stdio::File("log", Stdio::Mode::kAppend),
//       .stderr_to = Stdio::Stdout()};
//
// Owns:    a borrowed descriptor has to stay open until the start has returned;
//          an owned one is closed with the last copy of this value.
// Threads: as a value.
// Source:  CPython subprocess, "Frequently Used Arguments": stdin, stdout,
//          stderr.
class Stdio {
 public:
  // How a file is opened; one that is written is made, with the caller's umask,
  // if it is not there.
  enum class Mode { kRead, kTruncate, kAppend };

  enum class Kind { kInherit, kNull, kFile, kFd, kStdout, kPipe };

  // The caller's own, at the time of the start.
  static Stdio Inherit() { return Stdio(Kind::kInherit); }

  // /dev/null.
  static Stdio Null() { return Stdio(Kind::kNull); }

  // A file. It is opened by the caller, whose working directory a relative
  // `path` counts from; a FIFO that nobody has at its other end makes the start
  // wait.
  static Stdio File(std::string path, Mode mode) {
    Stdio stdio(Kind::kFile);
    stdio.path_ = std::move(path);
    stdio.mode_ = mode;
    return stdio;
  }

  // A descriptor of the caller's: borrowed as a number, or owned.
  static Stdio FromFd(int fd) {
    Stdio stdio(Kind::kFd);
    stdio.fd_ = fd;
    return stdio;
  }
  static Stdio FromFd(Fd fd) {
    Stdio stdio = FromFd(fd.get());
    stdio.owned_ = std::make_shared<const Fd>(std::move(fd));
    return stdio;
  }

  // For stderr: wherever stdout leads.
  static Stdio Stdout() { return Stdio(Kind::kStdout); }

  // For a Subprocess: a pipe whose other end the caller gets.
  static Stdio Pipe() { return Stdio(Kind::kPipe); }

  friend bool operator==(const Stdio&, const Stdio&) = default;

  // What it is, for those who start processes.
  Kind kind() const { return kind_; }
  const std::string& path() const { return path_; }
  Mode mode() const { return mode_; }
  int fd() const { return fd_; }

 private:
  explicit Stdio(Kind kind) : kind_(kind) {}

  Kind kind_;
  Mode mode_ = Mode::kRead;
  int fd_ = -1;
  std::string path_;
  std::shared_ptr<const Fd> owned_;
};

}  // namespace mp

#endif  // MP_PROCESS_STDIO_H_
