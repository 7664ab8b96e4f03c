#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/exchange.h"

namespace mp::internal {
namespace {

// What a pipe holds, unless somebody has changed it.
constexpr size_t kChunkBytes = 64 << 10;

// Writes to a pipe without a SIGPIPE, whatever this process does with that.
// Returns what write(2) does.
ssize_t WriteQuietly(int fd, const char* bytes, size_t size) {
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  sigset_t pending;
  sigpending(&pending);
  // It is blocked already then, and not ours to take.
  const bool is_pending = sigismember(&pending, SIGPIPE) == 1;
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
  const ssize_t written = RetryOnEintr([&] { return write(fd, bytes, size); });
  const int write_errno = errno;
  if (written < 0 && write_errno == EPIPE && !is_pending) {
    // It was sent to this thread, and is here.
    const timespec at_once = {};
    RetryOnEintr([&] { return sigtimedwait(&broken_pipe, nullptr, &at_once); });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = write_errno;
  return written;
}

}  // namespace

bool Exchange::Done() const {
  return !input.pipe.is_open() &&
         std::none_of(outputs.begin(), outputs.end(), [](const Output& output) {
           return output.end.pipe.is_open();
         });
}

absl::Status Exchange::Run(std::string text, const Deadline& deadline) {
  if (!text.empty() && !takes_input) {
    return absl::InvalidArgumentError(
        "there is input, but stdin is not a Stdio::Pipe()");
  }
  if (text_.empty()) {
    text_ = std::move(text);
  } else {
    text_.append(text);
  }
  buffer_.resize(kChunkBytes);
  if (input.pipe.is_open())
    fcntl(input.pipe.get(), F_SETFL, O_WRONLY | O_NONBLOCK);
  // Nothing to write means the end of it.
  if (written_ == text_.size()) input.pipe.Close();
  while (!Done()) MP_RETURN_IF_ERROR(ServeOnce(deadline));
  return absl::OkStatus();
}

// Waits for one of the pipes, or the end of one of the programs.
absl::Status Exchange::ServeOnce(const Deadline& deadline) {
  // poll(2) passes over what is -1.
  std::vector<pollfd> fds;
  const auto watch = [&](const End& end, short events) {
    const bool is_open = end.pipe.is_open();
    fds.push_back({end.pipe.get(), events, 0});
    fds.push_back({is_open && !until_closed ? end.program : -1, POLLIN, 0});
  };
  for (const Output& output : outputs) watch(output.end, POLLIN);
  watch(input, POLLOUT);
  MP_ASSIGN_OR_RETURN(const int ready,
                      PollUntil(absl::MakeSpan(fds), deadline));
  if (ready == 0) {
    return absl::DeadlineExceededError("the program has not finished in time");
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (fds[2 * i + 1].revents != 0) {
      MP_RETURN_IF_ERROR(ReadRest(outputs[i]));
    } else if (fds[2 * i].revents != 0) {
      MP_RETURN_IF_ERROR(Read(outputs[i]).status());
    }
  }
  const size_t last = 2 * outputs.size();
  if (fds[last + 1].revents != 0) {
    input.pipe.Close();
  } else if (fds[last].revents != 0) {
    Write();
  }
  return absl::OkStatus();
}

void Exchange::Write() {
  const ssize_t written =
      WriteQuietly(input.pipe.get(), &text_[written_], text_.size() - written_);
  if (written < 0 && errno == EAGAIN) return;
  if (written >= 0) written_ += static_cast<size_t>(written);
  if (written >= 0 && written_ < text_.size()) return;
  // All is written, or nobody is going to read it.
  input.pipe.Close();
  text_ = std::string();
  written_ = 0;
}

absl::StatusOr<size_t> Exchange::Read(Output& output) {
  const ssize_t got = RetryOnEintr([&] {
    return read(output.end.pipe.get(), buffer_.data(), buffer_.size());
  });
  if (got < 0) return ErrnoStatus(errno, "read from the program");
  if (got == 0) output.end.pipe.Close();
  const size_t room = max_output_bytes - output.text.size();
  const size_t size = static_cast<size_t>(got);
  output.text.append(buffer_.data(), std::min(size, room));
  if (size <= room) return size;
  return absl::ResourceExhaustedError(absl::StrCat(
      "the program writes more than max_output_bytes, ", max_output_bytes));
}

// The program has ended: takes what it has written. Others may have the pipe
// still, and write for ever.
absl::Status Exchange::ReadRest(Output& output) {
  int rest = 0;
  if (ioctl(output.end.pipe.get(), FIONREAD, &rest) != 0) {
    return ErrnoStatus(errno, "ioctl(FIONREAD)");
  }
  while (rest > 0 && output.end.pipe.is_open()) {
    MP_ASSIGN_OR_RETURN(const size_t got, Read(output));
    rest -= static_cast<int>(got);
  }
  output.end.pipe.Close();
  return absl::OkStatus();
}

}  // namespace mp::internal
