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
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr uint64_t kMaxShortLength = 0x7fffffff;

// Memory for a body is first taken for this many bytes, and then doubled as
// they arrive, so that a false length costs its sender as much as us.
constexpr uint64_t kFirstPiece = uint64_t{1} << 20;

std::string BigEndian(uint64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text.push_back(static_cast<char>(value >> shift));
  }
  return text;
}

uint64_t FromBigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) {
    value = value << 8 | static_cast<unsigned char>(byte);
  }
  return value;
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

// Whether a pipe, for which there is no MSG_DONTWAIT, can be read or written
// now. If not, errno says why: EAGAIN.
bool PipeIsReady(int pipe, short event) {
  pollfd entry = {pipe, event, 0};
  // A pending signal interrupts even a poll() that does not wait.
  const int ready = RetryOnEintr([&] { return poll(&entry, 1, 0); });
  if (ready == 0) errno = EAGAIN;
  return ready > 0;
}

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
    if (!PipeIsReady(stream_, POLLOUT)) return -1;
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
  return ErrnoStatus(error, "sendmsg");
}

// Takes the descriptors out of a control message.
void CollectFds(msghdr& message, std::vector<Fd>& fds) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds.push_back(Fd::AboveStdio(Fd(fd)));
    }
  }
}

// Reads what a socket has, with the descriptors that lie on these bytes.
ssize_t ReadSocket(int socket, absl::Span<char> into, std::vector<Fd>& fds,
                   bool& fds_lost) {
  iovec part = {into.data(), into.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFdsPerByte * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = RetryOnEintr([&] {
    return recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  });
  if (got < 0) return got;
  CollectFds(message, fds);
  fds_lost = (message.msg_flags & MSG_CTRUNC) != 0;
  return got;
}

// Reads what a pipe has, or says EAGAIN.
ssize_t ReadPipe(int pipe, absl::Span<char> into) {
  if (!PipeIsReady(pipe, POLLIN)) return -1;
  return RetryOnEintr([&] { return read(pipe, into.data(), into.size()); });
}

}  // namespace

absl::Status WriteFrame(int stream, absl::string_view bytes,
                        absl::Span<const int> fds, const Deadline& deadline,
                        bool* cut) {
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
  FrameWriter writer(stream, header, bytes, fds);
  bool expired = false;
  while (!writer.done()) {
    const int error = writer.WriteSome();
    if (error == 0) continue;
    *cut = writer.started();
    if (error != EAGAIN) return WriteError(error, !fds.empty());
    if (expired) {
      return absl::DeadlineExceededError(
          *cut ? "the time ran out in the middle of a message"
               : "the other end did not make room in time");
    }
    // A socket polls as writable only once most of it is free, so there may be
    // room at the end all the same.
    MP_ASSIGN_OR_RETURN(const bool ready, WaitForFd(stream, POLLOUT, deadline));
    expired = !ready || deadline.Expired();
  }
  *cut = false;
  return absl::OkStatus();
}

absl::StatusOr<FrameReader::Frame> FrameReader::Read(int stream,
                                                     uint64_t max_bytes,
                                                     const Deadline& deadline) {
  MP_RETURN_IF_ERROR(ReadHeader(stream, deadline));
  if (body_size_ > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the message is ", body_size_,
                     " bytes long, the limit is ", max_bytes));
  }
  MP_RETURN_IF_ERROR(ReadBody(stream, deadline));
  Frame frame = {std::move(body_), std::move(fds_)};
  *this = FrameReader();
  return frame;
}

absl::Status FrameReader::ReadHeader(int stream, const Deadline& deadline) {
  while (header_filled_ < header_size_) {
    const absl::Span<char> rest = absl::MakeSpan(header_).subspan(
        header_filled_, header_size_ - header_filled_);
    MP_ASSIGN_OR_RETURN(const size_t got, ReadSome(stream, rest, deadline));
    header_filled_ += got;
    if (header_filled_ == 4) {
      body_size_ = FromBigEndian(absl::string_view(header_.data(), 4));
      if (body_size_ == 0xffffffff) header_size_ = 12;
    }
    if (header_filled_ == 12) {
      body_size_ = FromBigEndian(absl::string_view(header_.data() + 4, 8));
    }
  }
  if (header_size_ == 4 && body_size_ > kMaxShortLength) {
    return absl::DataLossError(
        absl::StrCat("the message has a negative length, ",
                     static_cast<int32_t>(body_size_)));
  }
  if (body_size_ > INT64_MAX) {
    return absl::DataLossError(
        absl::StrCat("the message has an impossible length, ", body_size_));
  }
  return absl::OkStatus();
}

absl::Status FrameReader::ReadBody(int stream, const Deadline& deadline) {
  while (body_filled_ < body_size_) {
    if (body_filled_ == body_.size()) {
      const uint64_t room = std::max(kFirstPiece, uint64_t{body_.size()} * 2);
      body_.resize(std::min(body_size_, room));
    }
    MP_ASSIGN_OR_RETURN(
        const size_t got,
        ReadSome(stream, absl::MakeSpan(body_).subspan(body_filled_),
                 deadline));
    body_filled_ += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> FrameReader::ReadSome(int stream, absl::Span<char> into,
                                             const Deadline& deadline) {
  while (true) {
    bool fds_lost = false;
    ssize_t got = ReadSocket(stream, into, fds_, fds_lost);
    if (got < 0 && errno == ENOTSOCK) got = ReadPipe(stream, into);
    if (fds_lost) {
      return absl::ResourceExhaustedError(
          "the message carries descriptors and this process has none left to "
          "receive them with; raise its limit (ulimit -n)");
    }
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0 || errno == ECONNRESET) {
      if (MidFrame())
        return absl::DataLossError("the stream ended in a message");
      return absl::OutOfRangeError("the other end is closed");
    }
    if (errno != EAGAIN) return ErrnoStatus(errno, "recvmsg");
    MP_ASSIGN_OR_RETURN(const bool ready, WaitForFd(stream, POLLIN, deadline));
    if (!ready) return absl::DeadlineExceededError("no message came in time");
  }
}

}  // namespace mp
