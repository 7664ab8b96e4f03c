#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
#include "mp/base/frame.h"
#include "mp/base/frame_stream.h"
#include "mp/base/frame_wait.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace mp {
namespace {

constexpr size_t kShortHeader = 4;
constexpr uint64_t kMaxShortLength = 0x7fffffff;

// Address space for a body is taken for this many bytes, and then doubled as
// they arrive. Memory is what the steps below have touched, so that a false
// length costs its sender as much as us.
constexpr uint64_t kReservedBytes = uint64_t{64} << 20;

// How far the body grows ahead of what has come; small enough to be still in
// the cache when it is written over.
constexpr uint64_t kStepBytes = uint64_t{256} << 10;

uint64_t FromBigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) {
    value = value << 8 | static_cast<unsigned char>(byte);
  }
  return value;
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
ssize_t ReadSocket(int socket, absl::Span<iovec> into, std::vector<Fd>& fds,
                   bool& fds_lost) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFdsPerByte * sizeof(int))];
  msghdr message = {};
  message.msg_iov = into.data();
  message.msg_iovlen = into.size();
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
ssize_t ReadPipe(int pipe, absl::Span<iovec> into) {
  if (!internal::PipeIsReady(pipe, POLLIN)) return -1;
  return RetryOnEintr(
      [&] { return readv(pipe, into.data(), static_cast<int>(into.size())); });
}

}  // namespace

class FrameReader::Reading {
 public:
  Reading(FrameReader& reader, const Source& source, uint64_t max_bytes,
          const Deadline& deadline, absl::Span<char> buffer)
      : reader_(reader),
        source_(source),
        max_bytes_(max_bytes),
        deadline_(deadline),
        buffer_(buffer) {}

  // What has come into the caller's buffer has to survive the call.
  ~Reading() {
    if (is_in_buffer_ && reader_.MidFrame()) {
      reader_.body_.assign(buffer_.data(), reader_.body_filled_);
    }
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  absl::StatusOr<Frame> Run();

 private:
  absl::Status ReadHeader();
  absl::Status CheckLength() const;
  void PrepareBody();
  absl::Span<char> RoomForBody();
  absl::Status ReadBody();
  absl::StatusOr<Frame> Finish();

  absl::StatusOr<size_t> ReadSome(absl::Span<iovec> into);
  absl::StatusOr<size_t> ReadFd(absl::Span<iovec> into);
  absl::Status AwaitMore();
  absl::Status AtEnd() const;

  FrameReader& reader_;
  const Source source_;
  const uint64_t max_bytes_;
  const Deadline& deadline_;
  const absl::Span<char> buffer_;
  bool is_in_buffer_ = false;
};

absl::StatusOr<FrameReader::Frame> FrameReader::Reading::Run() {
  MP_RETURN_IF_ERROR(ReadHeader());
  MP_RETURN_IF_ERROR(CheckLength());
  MP_RETURN_IF_ERROR(ReadBody());
  return Finish();
}

absl::Status FrameReader::Reading::ReadHeader() {
  while (reader_.header_filled_ < reader_.header_size_) {
    iovec rest = {reader_.header_.data() + reader_.header_filled_,
                  reader_.header_size_ - reader_.header_filled_};
    MP_ASSIGN_OR_RETURN(const size_t got,
                        ReadSome(absl::MakeSpan(&rest, size_t{1})));
    reader_.header_filled_ += got;
    if (reader_.header_filled_ == kShortHeader &&
        FromBigEndian({reader_.header_.data(), kShortHeader}) == 0xffffffff) {
      reader_.header_size_ = reader_.header_.size();
    }
  }
  return reader_.ParseHeader();
}

absl::Status FrameReader::Reading::CheckLength() const {
  if (reader_.body_size_ <= max_bytes_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the message is ", reader_.body_size_,
                   " bytes long, the limit is ", max_bytes_));
}

// Decides where the body goes, and brings there what has come of it.
void FrameReader::Reading::PrepareBody() {
  if (is_in_buffer_) return;
  is_in_buffer_ = !buffer_.empty() && reader_.body_size_ <= buffer_.size();
  if (is_in_buffer_) {
    std::memcpy(buffer_.data(), reader_.body_.data(), reader_.body_filled_);
    reader_.body_.clear();
  } else if (reader_.body_size_ > reader_.body_.capacity()) {
    reader_.body_.reserve(std::min(reader_.body_size_, kReservedBytes));
  }
}

absl::Span<char> FrameReader::Reading::RoomForBody() {
  if (is_in_buffer_) {
    return buffer_.subspan(reader_.body_filled_,
                           reader_.body_size_ - reader_.body_filled_);
  }
  const uint64_t wanted =
      std::min(reader_.body_size_, reader_.body_filled_ + kStepBytes);
  if (wanted > reader_.body_.size()) reader_.body_.resize(wanted);
  return absl::MakeSpan(reader_.body_)
      .subspan(reader_.body_filled_, wanted - reader_.body_filled_);
}

absl::Status FrameReader::Reading::ReadBody() {
  PrepareBody();
  while (reader_.body_filled_ < reader_.body_size_) {
    const absl::Span<char> room = RoomForBody();
    iovec part = {room.data(), room.size()};
    MP_ASSIGN_OR_RETURN(const size_t got,
                        ReadSome(absl::MakeSpan(&part, size_t{1})));
    reader_.body_filled_ += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<FrameReader::Frame> FrameReader::Reading::Finish() {
  if (!is_in_buffer_) reader_.body_.resize(reader_.body_size_);
  Frame frame = {.bytes = std::move(reader_.body_),
                 .fds = std::move(reader_.fds_),
                 .size = reader_.body_size_,
                 .is_in_buffer = is_in_buffer_};
  reader_.Reset();
  return frame;
}

absl::StatusOr<size_t> FrameReader::Reading::ReadSome(absl::Span<iovec> into) {
  if (source_.stream == nullptr) return ReadFd(into);
  const absl::StatusOr<size_t> got = source_.stream->ReadSome(
      absl::MakeSpan(static_cast<char*>(into[0].iov_base), into[0].iov_len),
      deadline_);
  // An end that is none in order is worse within a message.
  const bool cut = absl::IsUnavailable(got.status()) && reader_.MidFrame();
  if (cut || (got.ok() && *got == 0)) return AtEnd();
  return got;
}

// To look at the header without taking it (MSG_PEEK) would go through all that
// lies in a Unix socket, message by message.
absl::StatusOr<size_t> FrameReader::Reading::ReadFd(absl::Span<iovec> into) {
  while (true) {
    if (source_.turn != nullptr) source_.turn->Begin();
    bool fds_lost = false;
    ssize_t got = -1;
    if (!reader_.is_pipe_) {
      got = ReadSocket(source_.fd, into, reader_.fds_, fds_lost);
      reader_.is_pipe_ = got < 0 && errno == ENOTSOCK;
    }
    if (reader_.is_pipe_) got = ReadPipe(source_.fd, into);
    if (fds_lost) {
      return absl::ResourceExhaustedError(
          "the message carries descriptors and this process has none left to "
          "receive them with; raise its limit (ulimit -n)");
    }
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0 || errno == ECONNRESET) return AtEnd();
    if (errno != EAGAIN) return ErrnoStatus(errno, "recvmsg");
    if (source_.turn != nullptr && !reader_.MidFrame()) {
      source_.turn->TakeBack();
    }
    MP_RETURN_IF_ERROR(AwaitMore());
  }
}

absl::Status FrameReader::Reading::AwaitMore() {
  MP_ASSIGN_OR_RETURN(
      const bool ready,
      internal::AwaitStream(source_.fd, POLLIN, deadline_,
                            reader_.MidFrame() ? source_.turn : nullptr));
  if (ready) return absl::OkStatus();
  return absl::DeadlineExceededError("no message came in time");
}

absl::Status FrameReader::Reading::AtEnd() const {
  if (reader_.MidFrame()) {
    return absl::DataLossError("the stream ended in a message");
  }
  return absl::OutOfRangeError("the other end is closed");
}

absl::StatusOr<FrameReader::Frame> FrameReader::Read(const Source& source,
                                                     uint64_t max_bytes,
                                                     const Deadline& deadline,
                                                     absl::Span<char> buffer) {
  return Reading(*this, source, max_bytes, deadline, buffer).Run();
}

absl::Status FrameReader::ParseHeader() {
  const absl::string_view header(header_.data(), header_size_);
  body_size_ = FromBigEndian(header.substr(header_size_ > 4 ? 4 : 0));
  if (header_size_ == kShortHeader && body_size_ > kMaxShortLength) {
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

void FrameReader::Reset() {
  const bool is_pipe = is_pipe_;
  *this = FrameReader();
  is_pipe_ = is_pipe;
}

}  // namespace mp
