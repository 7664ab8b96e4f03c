#ifndef MP_IPC_INTERNAL_QUEUE_CORE_H_
#define MP_IPC_INTERNAL_QUEUE_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"

namespace mp {

// Whose messages come out in the order in which they were put.
enum class QueueOrder : uint32_t {
  kFifo,         // all: one that was put before another began comes out first
  kPerProducer,  // those of one process; at present as kFifo
};

struct QueueOptions {
  // How many messages it holds at most, exactly; 0 for no limit.
  uint64_t maxsize = 0;

  // How many bytes the messages in it have at most, together; 0 for no limit.
  // None can be larger.
  uint64_t max_bytes = 0;

  QueueOrder order = QueueOrder::kFifo;

  // A Get() that waits ends with kUnavailable, once others have used the queue
  // and all of them have ended or let go of it.
  bool alone_is_unavailable = false;
};

namespace internal {

class QueueMemory;
class QueueSides;
struct PutCursor;

// A queue of byte messages between processes, and what all kinds of queue are
// made of. Any number put, any number get, each message goes to one of them.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto queue, QueueCore::Create({.maxsize = 100}));
//   const absl::string_view text = "hello";
//   MP_RETURN_IF_ERROR(queue->Put({&text, 1}, /*flags=*/0, deadline));
//   std::string got;
//   MP_RETURN_IF_ERROR(queue->Get(deadline, [&](absl::string_view bytes,
//                                               uint32_t /*flags*/) {
//     got = std::string(bytes);
//     return absl::OkStatus();
//   }));
//
// First in, first out: if a Put() returned before another began, in whatever
// processes, its message comes out first.
//
// Shape:   a sealed memfd, laid out as in docs/queue_format.md: a head, and
//          segments of memory for messages that come and go with them. While
//          those that get keep up, the same 64 KiB serve again and again.
// Units:   sizes in bytes. A message has up to 64 GiB less 16 bytes, or what
//          RLIMIT_FSIZE allows. An infinite deadline waits; one that is over
//          only tries, and waits at most 0.25 s for others that are in the
//          middle of a call.
// Owns:    the memory, with all other handles of all processes; the descriptor;
//          what it has mapped.
// Threads: safe from any.
// Fork:    a child goes on with what it inherits.
// Death:   a process can be killed anywhere. In Put() it leaves nothing or the
//          whole message; in Get(), the message is taken or is the next one's.
//          The others go on, after 50 ms at most.
// Source:  M. Michael and M. Scott, "Simple, Fast, and Practical Non-Blocking
//          and Blocking Concurrent Queue Algorithms" (1996), for two locks.
class QueueCore {
 public:
  // Makes an empty queue.
  //
  // Errors:
  //   kInvalidArgument    `order` is none.
  //   kResourceExhausted  no memory or descriptor left, or RLIMIT_FSIZE
  //                       (ulimit -f) allows no file of 65 MiB.
  static absl::StatusOr<std::shared_ptr<QueueCore>> Create(
      const QueueOptions& options);

  // The one that `memory` is of, which another process made: its memory_fd(),
  // and its event_fd() unless nobody here will ask for fileno().
  //
  // Errors:
  //   kFailedPrecondition  made by a program that was built in another way.
  //   kDataLoss            it is no queue.
  //   kResourceExhausted   no memory or address space left.
  static absl::StatusOr<std::shared_ptr<QueueCore>> Attach(Fd memory,
                                                           Fd event = Fd());

  QueueCore(const QueueCore&) = delete;
  QueueCore& operator=(const QueueCore&) = delete;
  ~QueueCore();

  // What to send to others. They stay owned.
  int memory_fd() const;
  int event_fd() const;  // -1 if it was attached without

  const QueueOptions& options() const { return options_; }

  // Appends one message, the concatenation of `pieces`. `flags`, of 8 bits, are
  // handed to the one that gets it.
  //
  // Errors:
  //   kDeadlineExceeded    still full; the queue is unchanged.
  //   kFailedPrecondition  the queue is shut down.
  //   kInvalidArgument     larger than `max_bytes`, or than any can be; or
  //                        `flags` has more than 8 bits.
  //   kResourceExhausted   no memory for it, or this process can't be a member.
  //   kDataLoss            the queue's memory is damaged.
  absl::Status Put(absl::Span<const absl::string_view> pieces, uint32_t flags,
                   const Deadline& deadline);

  // Appends messages of one piece each, in their order and with nothing between
  // those that fit at once. Returns how many: all, unless something stopped it.
  //
  // Errors: those of Put(), if it has put none.
  absl::StatusOr<size_t> PutBatch(absl::Span<const absl::string_view> messages,
                                  const Deadline& deadline);

  // Room for one message, to be written in place. All others that put wait
  // until it is committed or gone.
  //
  // Threads: for one at a time; may go to another thread, not to a process.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    // Drops it, if it is not committed.
    ~Reservation();

    // As many as were asked for, of any content, aligned to 8.
    absl::Span<char> bytes() const { return bytes_; }

    // Appends the message: the first `used` bytes.
    //
    // Errors:
    //   kInvalidArgument     more than there are, or flags of more than 8 bits.
    //   kFailedPrecondition  committed before, or the queue was shut down.
    absl::Status Commit(uint32_t flags = 0) {
      return Commit(flags, bytes_.size());
    }
    absl::Status Commit(uint32_t flags, size_t used);

   private:
    friend class QueueCore;
    Reservation(QueueCore* core, std::unique_ptr<PutCursor> cursor,
                absl::Span<char> bytes);

    QueueCore* core_;  // null if it has been committed
    std::unique_ptr<PutCursor> cursor_;
    absl::Span<char> bytes_;
  };

  // Waits for room. Until the Reservation has gone, published() is the number
  // of its message, and no other call may put from this thread.
  //
  // Errors: those of Put().
  absl::StatusOr<Reservation> Reserve(size_t size, const Deadline& deadline);

  // What is done with a message, where it lies, before it is freed. Others that
  // get wait meanwhile, so it does not wait itself and does not get. The number
  // of the message is taken(). If it fails the message stays, the next one to
  // be taken, and Get() returns that status.
  //
  // The bytes begin at a multiple of 8. A hostile process may change them while
  // they are read.
  using Take =
      absl::FunctionRef<absl::Status(absl::string_view bytes, uint32_t flags)>;

  // Takes the message at the front.
  //
  // Errors:
  //   kDeadlineExceeded   still empty.
  //   kOutOfRange         shut down, and empty: there will be none.
  //   kUnavailable        `alone_is_unavailable`, and nobody else is left.
  //   kResourceExhausted  no address space, or this process can't be a member.
  //   kDataLoss           the queue's memory is damaged.
  // and those of `take`.
  absl::Status Get(const Deadline& deadline, Take take);

  // Takes up to `max` messages, one call of `take` for each. Waits only for the
  // first. Returns how many.
  //
  // Errors: those of Get(), if it has taken none. 0 if `max` is.
  absl::StatusOr<size_t> GetBatch(size_t max, const Deadline& deadline,
                                  Take take);

  // How many have been put and taken in all. Under the put lock, which a
  // Reservation holds, the former is the number of the next message, and under
  // the get lock, in a Take, the latter that of the one being taken.
  uint64_t published() const;
  uint64_t taken() const;

  // How it is at this moment. Empty after Shutdown(/*immediate=*/true).
  uint64_t Size() const;
  bool Empty() const { return Size() == 0; }
  // Whether there are `maxsize` messages in it, or `max_bytes` bytes.
  bool Full() const;

  // Ends the queue for all processes: no message can be put any more, and none
  // be taken once it is empty. `immediate` drops those in it, which count as
  // done. Those that wait are told. May be called again.
  void Shutdown(bool immediate);
  bool is_shut_down() const;

  // Says that one of the messages that were taken has been dealt with.
  //
  // Errors:
  //   kFailedPrecondition  more often than messages were taken.
  //   kDeadlineExceeded    another process has been in the middle of this call
  //                        for 10 s: it is stopped.
  //   kResourceExhausted   this process can't be a member.
  absl::Status TaskDone();

  // Waits until all messages that were put are done.
  //
  // Errors:
  //   kDeadlineExceeded   not in time.
  //   kAborted            a process ended with messages that it had taken and
  //                       not done. They count as done from now on; this is
  //                       told to one caller, once.
  //   kResourceExhausted  this process can't be a member.
  absl::Status JoinTasks(const Deadline& deadline);

  // A descriptor that is readable while there is something to get, or the queue
  // is shut down; -1 if there is none. It stays owned. A process that is killed
  // in a call may leave it wrong until the next message: so whoever polls looks
  // at Empty() as well, every 50 ms.
  //
  // The first call has all processes keep it up to date, with a system call for
  // a message that is put into an empty queue.
  int fileno();

 private:
  static absl::StatusOr<std::shared_ptr<QueueCore>> Make(
      std::unique_ptr<QueueMemory> memory, const QueueOptions& options,
      Fd event);
  QueueCore(const QueueOptions& options, std::unique_ptr<QueueSides> sides);

  const QueueOptions options_;
  const std::unique_ptr<QueueSides> sides_;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_IPC_INTERNAL_QUEUE_CORE_H_
