#include "mp/base/frame.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/errno_status.h"
#include "mp/base/fd.h"
#include "mp/base/frame_stream.h"
#include "mp/base/frame_turn.h"
#include "mp/base/frame_wait.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr uint64_t kMaxShortLength = 0x7fffffff;

std::string BigEndian(uint64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text.push_back(static_cast<char>(value >> shift));
  }
  return text;
}

std::string Header(uint64_t length) {
  if (length <= kMaxShortLength) return BigEndian(length, 4);
  return BigEndian(0xffffffff, 4) + BigEndian(length, 8);
}

// Keeps a write to a pipe without a reader from raising SIGPIPE, for this
// thread and this scope. A socket needs it not: it has MSG_NOSIGNAL.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &old_mask_);
  }
  ~SigpipeGuard() {
    const int saved_errno = errno;
    if (!was_pending_) {
      const timespec now = {};
      while (sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
    errno = saved_errno;
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t sigpipe_;
  sigset_t old_mask_;
  bool was_pending_;
};

// What is left to write of one message.
class FrameWriter {
 public:
  FrameWriter(int stream, absl::string_view header, absl::string_view body,
              absl::Span<const int> fds)
      : stream_(stream), header_(header), body_(body), fds_(fds) {}

  bool done() const { return header_.empty() && body_.empty(); }
  bool started() const { return started_; }

  // Writes what the stream takes without waiting. Returns an errno, 0 for none.
  int WriteSome() {
    const size_t fds_now = std::min(fds_.size(), kMaxFdsPerByte);
    // With more descriptors to come, this call may use up a single byte only.
    const size_t limit =
        fds_.size() > fds_now ? 1 : header_.size() + body_.size();
    const ssize_t written =
        is_pipe_ ? WriteToPipe()
                 : WriteToSocket(limit, fds_.subspan(0, fds_now));
    if (written < 0) return errno;
    started_ = true;
    fds_.remove_prefix(fds_now);
    const size_t from_header = std::min<size_t>(header_.size(), written);
    header_.remove_prefix(from_header);
    body_.remove_prefix(written - from_header);
    return 0;
  }

 private:
  struct Parts {
    iovec list[2];
    int count = 0;
  };

  // Returns what is left, up to `limit` bytes.
  Parts Left(size_t limit) const {
    Parts parts;
    for (absl::string_view part : {header_, body_}) {
      const size_t size = std::min(part.size(), limit);
      if (size == 0) continue;
      parts.list[parts.count++] = {const_cast<char*>(part.data()), size};
      limit -= size;
    }
    return parts;
  }

  ssize_t WriteToSocket(size_t limit, absl::Span<const int> fds) {
    Parts parts = Left(limit);
    msghdr message = {};
    message.msg_iov = parts.list;
    message.msg_iovlen = parts.count;
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxFdsPerByte * sizeof(int))];
    if (!fds.empty()) AttachFds(fds, control, message);
    const ssize_t written = RetryOnEintr([&] {
      return sendmsg(stream_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    });
    if (written >= 0 || errno != ENOTSOCK) return written;
    is_pipe_ = true;
    return WriteToPipe();
  }

  // Once a pipe polls as writable it takes PIPE_BUF bytes, so that a write of
  // no more than those does not block (man 7 pipe).
  ssize_t WriteToPipe() {
    if (!internal::PipeIsReady(stream_, POLLOUT)) return -1;
    const Parts parts = Left(PIPE_BUF);
    SigpipeGuard guard;
    return RetryOnEintr(
        [&] { return writev(stream_, parts.list, parts.count); });
  }

  static void AttachFds(absl::Span<const int> fds, char* control,
                        msghdr& message) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    std::memset(control, 0, message.msg_controllen);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }

  const int stream_;
  absl::string_view header_;
  absl::string_view body_;
  absl::Span<const int> fds_;
  bool is_pipe_ = false;
  bool started_ = false;
};

// Sockets of other kinds take descriptors without a word, and drop them.
bool IsUnixSocket(int stream) {
  int domain = AF_UNSPEC;
  socklen_t size = sizeof(domain);
  return getsockopt(stream, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
         domain == AF_UNIX;
}

absl::Status WriteError(int error, bool has_fds) {
  if (error == EPIPE || error == ECONNRESET) {
    return absl::UnavailableError("the other end is closed");
  }
  if (error == EBADF && has_fds) {
    return absl::InvalidArgumentError(
        "a descriptor in the message is not open in this process");
  }
  if (error == ETOOMANYREFS) {
    return absl::ResourceExhaustedError(
        "more descriptors are on their way in messages that nobody has "
        "received than this user may have; raise the limit (ulimit -n)");
  }
  return ErrnoStatus(error, "sendmsg");
}

}  // namespace

absl::Status WriteFrame(int stream, absl::string_view bytes,
                        absl::Span<const int> fds, const Deadline& deadline,
                        bool* cut, FrameTurn* turn) {
  *cut = false;
  const std::string header = Header(bytes.size());
  if (fds.size() > (header.size() + bytes.size()) * kMaxFdsPerByte) {
    return absl::InvalidArgumentError(absl::StrCat(
        fds.size(), " descriptors on ", header.size() + bytes.size(),
        " bytes, the limit for each byte is ", kMaxFdsPerByte));
  }
  if (!fds.empty() && !IsUnixSocket(stream)) {
    return absl::InvalidArgumentError(
        "descriptors travel over Unix sockets only, and this is none");
  }
  if (turn != nullptr && header.size() + bytes.size() <= turn->atomic_bytes() &&
      fds.size() <= kMaxFdsPerByte) {
    turn = nullptr;
  }
  FrameWriter writer(stream, header, bytes, fds);
  bool expired = false;
  while (!writer.done()) {
    if (turn != nullptr && !writer.started()) turn->Begin();
    const int error = writer.WriteSome();
    if (error == 0) continue;
    if (turn != nullptr && !writer.started()) turn->TakeBack();
    *cut = writer.started();
    if (error != EAGAIN) return WriteError(error, !fds.empty());
    if (expired) {
      return absl::DeadlineExceededError(
          *cut ? "the time ran out in the middle of a message"
               : "the other end did not make room in time");
    }
    // A socket polls as writable only once most of it is free, so there may be
    // room at the end all the same.
    MP_ASSIGN_OR_RETURN(
        const bool ready,
        internal::AwaitStream(stream, POLLOUT, deadline,
                              writer.started() ? turn : nullptr));
    expired = !ready || deadline.Expired();
  }
  *cut = false;
  return absl::OkStatus();
}

absl::Status WriteFrame(FrameStream& stream, absl::string_view bytes,
                        absl::Span<const int> fds, const Deadline& deadline,
                        bool* cut) {
  *cut = false;
  if (!fds.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("descriptors travel over Unix sockets only, and not over ",
                     stream.name()));
  }
  const std::string header = Header(bytes.size());
  const absl::string_view pieces[] = {header, bytes};
  size_t done = 0;
  const absl::Status status = stream.WriteAll(pieces, deadline, &done);
  *cut = !status.ok() && done > 0;
  return status;
}

}  // namespace mp
