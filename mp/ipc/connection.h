#ifndef MP_IPC_CONNECTION_H_
#define MP_IPC_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/type_fingerprint.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp {

namespace internal {
class SharedEnd;
class Transport;
}  // namespace internal

// One end of a channel that carries messages to and from another process.
//
// Example:
//   void Square(mp::Connection connection) {
//     const int x = connection.Recv<int>().value();
//     MP_CHECK_OK(connection.Send(x * x));
//   }
//
//   MP_ASSIGN_OR_RETURN(auto ends, mp::Pipe());
//   mp::Process p(Square, std::move(ends.second));
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_RETURN_IF_ERROR(ends.first.Send(7));
//   MP_ASSIGN_OR_RETURN(int square, ends.first.Recv<int>());
//
// A message arrives whole and in order, or not at all. What Send() has accepted
// lies in the kernel: it arrives even if the sender is killed right after.
//
// Shape:   frames as CPython's, of any length, with a type's fingerprint before
//          a value that was sent with Send().
// Units:   sizes in bytes; an infinite timeout waits, a zero one only tries.
// Owns:    a descriptor, and a count of a slot in an arena where processes may
//          share an end. Moves, so that the end that goes to another process is
//          not left open here by mistake; a Connection that is sent, inside
//          another message, stays open here until closed.
// Threads: safe from several, and so are processes that share one end: messages
//          of two senders do not mix, and each message goes to one receiver.
//          One that waits for a message keeps the others from receiving.
//          Close() and moves are for one thread alone.
// Fork:    travels as an argument or in a message, over a Unix socket. A
//          process started by fork has those that it is given, and finds the
//          others closed, so that it sees their end; with mp::ForkContext, and
//          after a fork() of the program's own, it has them all. Those that
//          take turns at an end are the processes that got it from Pipe() or
//          in a message. Where one was made by FromFd() and inherited by a
//          fork(), or a program that knows nothing of this uses it too,
//          messages of more than 32 KiB may mix.
// Death:   when the last process that holds the other end is gone, what it sent
//          can still be received; then Recv() is kOutOfRange and Send()
//          kUnavailable. One killed in the middle of a message leaves kDataLoss
//          in its place, and cuts the stream: the processes that share its end
//          find that out at their next call, and the other end with them; with
//          ends made by Pipe() at once, in a call that waits for the rest of
//          the message. A message of up to 32 KiB is never half sent.
// Source:  CPython multiprocessing.connection.Connection. Differs: timeouts,
//          descriptors in messages, no pickle.
class Connection {
 public:
  enum class Direction { kBoth, kReadOnly, kWriteOnly };

  // No limit to the length of a message.
  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

  // A closed connection.
  Connection();

  // Takes over a pipe or stream socket that carries such frames, maybe from a
  // CPython program. On a pipe there are no descriptors in messages, and what
  // is said of the death of one of several senders holds for sockets only.
  //
  // Errors:
  //   kInvalidArgument  `fd` is not open.
  static absl::StatusOr<Connection> FromFd(
      Fd fd, Direction direction = Direction::kBoth);

  // For what mp makes of connections. One that does not travel, carries no
  // descriptors, and is of use in this process only.
  static Connection FromTransport(
      std::unique_ptr<internal::Transport> transport);

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  // Sends a value of a type that travels; see serializer.h. Waits while the
  // other end is full.
  //
  // Errors:
  //   kDeadlineExceeded    nothing was sent, or, if the time ran out within the
  //                        message, nothing can be sent any more.
  //   kUnavailable         the other end is closed.
  //   kFailedPrecondition  this end is closed, or read-only; or a process has
  //                        ended in the middle of sending here, so that nothing
  //                        can be sent any more.
  //   kResourceExhausted   more descriptors on their way than the system allows
  //                        (ulimit -n).
  //   kInvalidArgument     a value that cannot be sent, such as descriptors
  //                        over something that is no Unix socket.
  // Source: CPython Connection.send().
  template <typename T>
  absl::Status Send(const T& value,
                    absl::Duration timeout = absl::InfiniteDuration()) {
    if constexpr (std::is_array_v<T> &&
                  std::is_same_v<std::remove_extent_t<T>, char>) {
      return Send(std::string(value), timeout);
    } else {
      Encoder encoder;
      encoder.Write(internal::TypeFingerprint<T>());
      encoder.Write(value);
      MP_ASSIGN_OR_RETURN(Parcel parcel, std::move(encoder).Finish());
      return SendParcel(std::move(parcel), timeout);
    }
  }

  // Receives a value that was sent as the same type.
  //
  // Errors:
  //   kDeadlineExceeded    no whole message has come; nothing is lost.
  //   kOutOfRange          the other end is closed and no message is left.
  //   kInvalidArgument     the message is of another type. It is gone, and the
  //                        next one can be received.
  //   kDataLoss            the bytes are no message of ours.
  //   kResourceExhausted   it is longer than `max_bytes`, of which its type
  //   takes
  //                        8; the connection is not readable any more.
  //   kFailedPrecondition  this end is closed, or write-only.
  // Source: CPython Connection.recv().
  template <typename T>
  ReadResult<T> Recv(absl::Duration timeout = absl::InfiniteDuration(),
                     uint64_t max_bytes = kNoLimit) {
    MP_ASSIGN_OR_RETURN(Parcel parcel, RecvParcel(timeout, max_bytes));
    Decoder decoder(std::move(parcel));
    MP_RETURN_IF_ERROR(internal::CheckTypeFingerprint<T>(decoder));
    ReadResult<T> value = decoder.Read<T>();
    if (value.ok()) MP_RETURN_IF_ERROR(decoder.ExpectEnd());
    return value;
  }

  // Sends bytes as they are. Errors: those of Send().
  //
  // Source: CPython Connection.send_bytes().
  absl::Status SendBytes(absl::string_view bytes,
                         absl::Duration timeout = absl::InfiniteDuration());

  // Receives bytes, however they were sent. A message longer than `max_bytes`
  // is kResourceExhausted and leaves the connection unreadable, as its rest
  // cannot be told from the next one. Other errors: those of Recv().
  //
  // Source: CPython Connection.recv_bytes(maxlength).
  absl::StatusOr<std::string> RecvBytes(
      absl::Duration timeout = absl::InfiniteDuration(),
      uint64_t max_bytes = kNoLimit);

  // Receives bytes into the front of `buffer` and returns how many.
  //
  // Errors: those of RecvBytes(), and
  //   kInvalidArgument  the message is longer than `buffer`. It is gone, and
  //                     the status has it: see MessageOf().
  // Source: CPython Connection.recv_bytes_into(). Differs: the rest of a buffer
  // is a span, not an offset.
  absl::StatusOr<size_t> RecvBytesInto(
      absl::Span<char> buffer,
      absl::Duration timeout = absl::InfiniteDuration(),
      uint64_t max_bytes = kNoLimit);

  // The message that RecvBytesInto() had no room for, if `status` is of that.
  //
  // Source: CPython BufferTooShort.args.
  static std::optional<std::string> MessageOf(const absl::Status& status);

  // Whether there is something to receive, or the end: then Recv() does not
  // wait for the first byte of it. Waits up to `timeout`.
  //
  // Source: CPython Connection.poll(timeout).
  absl::StatusOr<bool> Poll(absl::Duration timeout = absl::ZeroDuration());

  // Closes this end. What was sent stays receivable. May be called again.
  void Close();

  bool closed() const;
  bool readable() const;
  bool writable() const;

  // Returns the descriptor, which stays owned, or -1 if closed. It polls as
  // readable while there is something to receive: nothing is read ahead of the
  // message that is being received.
  int fileno() const;

  // Whether there is something to receive, or an error, that polling on
  // fileno() does not show. For Wait().
  bool IsReadyNow() const;

 private:
  struct State;
  class Hold;
  struct Received {
    Parcel parcel;
    size_t size;
    bool is_in_buffer;
  };
  friend struct Serializer<Connection>;
  friend absl::StatusOr<std::pair<Connection, Connection>> Pipe(bool duplex);

  explicit Connection(std::unique_ptr<State> state);
  Connection(Fd fd, Direction direction, internal::SharedEnd shared);
  absl::Status Write(absl::string_view operation, absl::string_view bytes,
                     absl::Span<const int> fds, absl::Duration timeout);
  absl::StatusOr<Received> Read(absl::string_view operation,
                                absl::Span<char> buffer, absl::Duration timeout,
                                uint64_t max_bytes);
  absl::Status SendParcel(Parcel parcel, absl::Duration timeout);
  absl::StatusOr<Parcel> RecvParcel(absl::Duration timeout, uint64_t max_bytes);

  std::unique_ptr<State> state_;
};

// The receiver gets an end of its own; the sender's stays open, and they take
// turns. kFailedPrecondition for one that is closed, that has received a part
// of a message, or that encrypts.
template <>
struct Serializer<Connection> {
  static void Encode(const Connection& connection, Encoder& encoder);
  static absl::StatusOr<Connection> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_IPC_CONNECTION_H_
