#ifndef MP_BASE_FRAME_H_
#define MP_BASE_FRAME_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/frame_stream.h"
#include "mp/base/frame_turn.h"

namespace mp {

// Messages on a stream, in the frames of CPython's multiprocessing.connection:
// a 4-byte signed big-endian length and as many bytes; for a length above
// 0x7fffffff, -1, an 8-byte unsigned big-endian length and the bytes.
//
// On a Unix socket a message may carry descriptors besides. The kernel takes
// 253 at a time, so a longer list is spread over the bytes of the message, each
// part on a byte of its own (man 7 unix, SCM_RIGHTS).

// Descriptors that one message can carry for each of its bytes, the header's
// included.
inline constexpr size_t kMaxFdsPerByte = 253;

// Writes one message. With a `turn`, tells it what other processes need to
// know.
//
// A `deadline` that passes before the first byte is gone changes nothing. If it
// passes later the receiver has half a message, and `*cut` is set: the stream
// is of no more use.
//
// Errors:
//   kDeadlineExceeded   the stream stayed full.
//   kUnavailable        the other end is closed. There is no SIGPIPE.
//   kInvalidArgument    `fds` on a stream that is no Unix socket.
//   kResourceExhausted  more descriptors in flight than the system allows.
// Source: CPython Lib/multiprocessing/connection.py, Connection._send_bytes.
absl::Status WriteFrame(int stream, absl::string_view bytes,
                        absl::Span<const int> fds, const Deadline& deadline,
                        bool* cut, FrameTurn* turn = nullptr);

// The same on a stream that carries no descriptors. Errors: its own, too.
absl::Status WriteFrame(FrameStream& stream, absl::string_view bytes,
                        absl::Span<const int> fds, const Deadline& deadline,
                        bool* cut);

// Reads messages, a piece at a time: what arrived before a deadline is kept for
// the next call. Takes nothing of what follows a message.
class FrameReader {
 public:
  struct Frame {
    std::string bytes;    // none if they were read into a buffer
    std::vector<Fd> fds;  // close-on-exec
    uint64_t size = 0;
    bool is_in_buffer = false;
  };

  // Where to read from: a descriptor, maybe in turn with others, or what is
  // more than that.
  struct Source {
    int fd = -1;
    FrameTurn* turn = nullptr;
    FrameStream* stream = nullptr;
  };

  // Reads the rest of the message that is under way, or of the next one: into
  // `buffer` if it fits.
  //
  // Memory grows with the bytes that arrive, not with the length that the
  // sender claims.
  //
  // Errors:
  //   kDeadlineExceeded   nothing is lost: call again.
  //   kOutOfRange         the stream ended between two messages.
  //   kDataLoss           it ended inside one, or the length is no length.
  //   kResourceExhausted  the message is longer than `max_bytes`, or there was
  //                       no descriptor left to receive one with.
  // All but the first leave the stream of no more use.
  // Source: CPython connection.py, Connection._recv_bytes.
  absl::StatusOr<Frame> Read(const Source& source, uint64_t max_bytes,
                             const Deadline& deadline,
                             absl::Span<char> buffer = {});
  absl::StatusOr<Frame> Read(int stream, uint64_t max_bytes,
                             const Deadline& deadline) {
    return Read(Source{.fd = stream}, max_bytes, deadline);
  }

  // Whether a part of a message has arrived, so that nobody else can go on with
  // this stream.
  bool MidFrame() const { return header_filled_ > 0; }

 private:
  // One call of Read().
  class Reading;

  absl::Status ParseHeader();
  void Reset();

  std::array<char, 12> header_;
  size_t header_filled_ = 0;
  size_t header_size_ = 4;
  // What has come of the body: `body_filled_` bytes. Between two calls they are
  // in `body_`.
  std::string body_;
  uint64_t body_filled_ = 0;
  uint64_t body_size_ = 0;  // once the header is complete
  std::vector<Fd> fds_;
  bool is_pipe_ = false;  // as far as is known
};

}  // namespace mp

#endif  // MP_BASE_FRAME_H_
