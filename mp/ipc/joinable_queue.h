#ifndef MP_IPC_JOINABLE_QUEUE_H_
#define MP_IPC_JOINABLE_QUEUE_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_handle.h"
#include "mp/ipc/internal/type_fingerprint.h"
#include "mp/ipc/queue.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {

// A queue that can tell when all that was put has been dealt with.
//
// Example:
//   void Work(mp::JoinableQueue<std::string> names) {
//     while (absl::StatusOr<std::string> name = names.Get(); name.ok()) {
//       Greet(*name);
//       MP_CHECK_OK(names.TaskDone());
//     }
//   }
//
//   MP_ASSIGN_OR_RETURN(auto names, mp::JoinableQueue<std::string>::Create());
//   mp::Process p({.daemon = true}, Work, names);
//   MP_RETURN_IF_ERROR(p.Start());
//   MP_RETURN_IF_ERROR(names.Put("bob"));
//   MP_RETURN_IF_ERROR(names.Join());  // bob has been greeted
//
// It is a Queue, and can be given to whatever takes one: a process that only
// puts needs not know.
//
// Shape, Units, Owns, Threads, Fork: as Queue.
// Death:   a process that ends with values that it has taken and not called
//          TaskDone() for does not have the others wait: Join() says so, once,
//          and what it had taken counts as done.
// Source:  CPython multiprocessing.JoinableQueue. Differs: it does not wait for
//          the dead, and the count does not overflow.
template <typename T>
class JoinableQueue : public Queue<T> {
 public:
  using Options = QueueOptions;

  // Errors: those of Queue<T>::Create().
  static absl::StatusOr<JoinableQueue> Create(const Options& options = {}) {
    MP_ASSIGN_OR_RETURN(auto queue, Queue<T>::Create(options));
    return JoinableQueue(std::move(queue));
  }

  // A closed handle.
  JoinableQueue() = default;

  // Says that one value that this process has taken has been dealt with.
  //
  // Errors:
  //   kFailedPrecondition  more often than values were taken, or this handle is
  //                        closed.
  // Source: CPython JoinableQueue.task_done(), which raises ValueError.
  absl::Status TaskDone() const {
    MP_RETURN_IF_ERROR(this->handle().CheckOpen("JoinableQueue::TaskDone"));
    return this->handle().core().TaskDone();
  }

  // Waits until all that was put has been dealt with.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kAborted             a process ended with values that it had taken. They
  //                        now count as done; call again to wait for the rest.
  //   kFailedPrecondition  this handle is closed.
  // Source: CPython JoinableQueue.join().
  absl::Status Join(absl::Duration timeout = absl::InfiniteDuration()) const {
    MP_RETURN_IF_ERROR(this->handle().CheckOpen("JoinableQueue::Join"));
    return this->handle().core().JoinTasks(Deadline(timeout));
  }

 private:
  friend struct Serializer<JoinableQueue<T>>;

  explicit JoinableQueue(Queue<T> queue) : Queue<T>(std::move(queue)) {}
  explicit JoinableQueue(internal::QueueHandle handle)
      : Queue<T>(std::move(handle)) {}
};

// Errors of receiving: those of a Queue<T>.
template <typename T>
struct Serializer<JoinableQueue<T>> {
  static void Encode(const JoinableQueue<T>& queue, Encoder& encoder) {
    queue.handle().Encode(internal::TypeFingerprint<JoinableQueue<T>>(),
                          encoder);
  }
  static absl::StatusOr<JoinableQueue<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto handle,
                        internal::QueueHandle::Decode(
                            internal::TypeFingerprint<JoinableQueue<T>>(),
                            internal::TypeName<JoinableQueue<T>>(), decoder));
    return JoinableQueue<T>(std::move(handle));
  }
};

}  // namespace mp

#endif  // MP_IPC_JOINABLE_QUEUE_H_
