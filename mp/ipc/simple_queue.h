#ifndef MP_IPC_SIMPLE_QUEUE_H_
#define MP_IPC_SIMPLE_QUEUE_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/queue.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {

// The smallest queue: put, get, and whether it is empty.
//
// Example:
//   void Count(mp::SimpleQueue<int> numbers) {
//     for (int i = 0; i < 3; ++i) MP_CHECK_OK(numbers.Put(i));
//   }
//
//   MP_ASSIGN_OR_RETURN(auto numbers, mp::SimpleQueue<int>::Create());
//   mp::Process p(Count, numbers);
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_ASSIGN_OR_RETURN(int zero, numbers.Get());
//
// For code that has CPython's; a Queue does all of it, too.
//
// Shape:   without a bound. All else as Queue.
// Units, Owns, Threads, Fork, Death: as Queue.
// Source:  CPython multiprocessing.SimpleQueue. Differs: Put() does not wait
//          until somebody takes what a pipe cannot hold; timeouts.
template <typename T>
class SimpleQueue {
 public:
  // Errors: those of Queue<T>::Create().
  static absl::StatusOr<SimpleQueue> Create() {
    MP_ASSIGN_OR_RETURN(auto queue, Queue<T>::Create());
    return SimpleQueue(std::move(queue));
  }

  // A closed handle.
  SimpleQueue() = default;

  // Puts a value at the end. Errors: those of Queue<T>::Put(), but it is never
  // full, unless with messages that have descriptors.
  //
  // Source: CPython SimpleQueue.put().
  absl::Status Put(const T& value,
                   absl::Duration timeout = absl::InfiniteDuration()) const {
    return queue_.Put(value, timeout);
  }

  // Takes the value at the front, and waits while there is none. Errors: those
  // of Queue<T>::Get().
  //
  // Source: CPython SimpleQueue.get().
  ReadResult<T> Get(absl::Duration timeout = absl::InfiniteDuration()) const {
    return queue_.Get(timeout);
  }

  // Whether there is nothing to get at this moment.
  //
  // Errors:
  //   kFailedPrecondition  this handle is closed.
  // Source: CPython SimpleQueue.empty(), which raises OSError.
  absl::StatusOr<bool> Empty() const {
    if (!closed()) return queue_.Empty();
    return absl::FailedPreconditionError(
        "SimpleQueue::Empty: the handle is closed");
  }

  // Closes this handle. May be called again.
  //
  // Source: CPython SimpleQueue.close().
  void Close() { queue_.Close(); }
  bool closed() const { return queue_.closed(); }

  // For mp::Wait(), as in Queue.
  int fileno() const { return queue_.fileno(); }
  bool IsReadable() const { return queue_.IsReadable(); }

  // Whether both are handles of the same origin in this process.
  friend bool operator==(const SimpleQueue&, const SimpleQueue&) = default;

 private:
  friend struct Serializer<SimpleQueue<T>>;

  explicit SimpleQueue(Queue<T> queue) : queue_(std::move(queue)) {}

  Queue<T> queue_;
};

// Errors of receiving: those of a Queue<T>, as which it travels.
template <typename T>
struct Serializer<SimpleQueue<T>> {
  static void Encode(const SimpleQueue<T>& queue, Encoder& encoder) {
    encoder.Write(queue.queue_);
  }
  static absl::StatusOr<SimpleQueue<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto queue, decoder.Read<Queue<T>>());
    return SimpleQueue<T>(std::move(queue));
  }
};

}  // namespace mp

#endif  // MP_IPC_SIMPLE_QUEUE_H_
