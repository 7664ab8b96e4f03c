#ifndef MP_IPC_INTERNAL_QUEUE_TASKS_H_
#define MP_IPC_INTERNAL_QUEUE_TASKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_lock.h"

namespace mp::internal {

// Which of the messages that were taken are done, and by whom, so that those
// that wait for all of them do not wait for the dead.
//
// Owns:    nothing: the memory and the members outlive it.
// Threads: safe from any.
// Death:   one who is killed in a call has done the task or has not.
class QueueDoneTasks {
 public:
  QueueDoneTasks(QueueHead& head, Members& members)
      : head_(head),
        tasks_(head.tasks),
        members_(members),
        lock_(head.tasks.lock, members, "Queue's tasks") {}

  // `count` of the messages that were taken are done.
  //
  // Errors:
  //   kFailedPrecondition  they were before.
  //   kResourceExhausted   this process cannot become a member.
  absl::Status Done(uint64_t count);

  // How many are not.
  uint64_t Unfinished() const;

  // Waits for 50 ms, or until there are none or it is `deadline`.
  void AwaitNone(const Deadline& deadline);

  // Has those count as done that processes have taken which are dead.
  //
  // Errors:
  //   kAborted            there were some, which nobody had been told of.
  //   kDeadlineExceeded   another one is about it.
  //   kResourceExhausted  this process cannot become a member.
  absl::Status LookForLost();

  // The end of the queue may have made them fewer.
  void WakeAll() { mp::WakeAll(tasks_.all_done); }

 private:
  struct State {
    uint64_t done;
    uint64_t lost;
    int32_t lost_pid;
    uint32_t place;
    uint64_t place_done;
  };

  absl::Status Acquire(const Deadline& deadline);
  State Load() const;
  void Store(const State& state);
  void Repair();
  void Lose(uint32_t place, State& state);

  QueueHead& head_;
  QueueTasks& tasks_;
  Members& members_;
  QueueLock lock_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_TASKS_H_
