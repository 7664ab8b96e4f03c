#ifndef MP_IPC_INTERNAL_TURN_H_
#define MP_IPC_INTERNAL_TURN_H_

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"

namespace mp::internal {

// Lets the threads of a process take turns at something that may block for
// long, each with its own deadline.
//
// Example:
//   Turn::Holder holder(turn, deadline);
//   MP_RETURN_IF_ERROR(holder.status());
//
// Fork: works in a forked child, unless another thread held it at the fork.
class Turn {
 public:
  class Holder {
   public:
    // Waits for the turn. Holds it unless status() is kDeadlineExceeded.
    Holder(Turn& turn, const Deadline& deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS;
    ~Holder() ABSL_NO_THREAD_SAFETY_ANALYSIS;
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    const absl::Status& status() const { return status_; }

   private:
    Turn& turn_;
    absl::Status status_;
  };

 private:
  ForkSafeMutex mutex_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TURN_H_
