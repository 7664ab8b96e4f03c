#ifndef MP_IPC_INTERNAL_TURN_H_
#define MP_IPC_INTERNAL_TURN_H_

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"

namespace mp::internal {

// Lets the threads of a process take turns at something that may block for
// long, each with its own deadline.
//
// Example:
//   Turn::Holder holder(turn, deadline);
//   MP_RETURN_IF_ERROR(holder.status());
//
// Fork: has no state but its own, so that it works in a forked child, unless
//       another thread held it at the fork.
class Turn {
 public:
  class Holder {
   public:
    // Waits for the turn. Holds it unless status() is kDeadlineExceeded.
    Holder(Turn& turn, const Deadline& deadline);
    ~Holder();
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    const absl::Status& status() const { return status_; }

   private:
    Turn& turn_;
    absl::Status status_;
  };

 private:
  bool Take(const Deadline& deadline);
  void GiveBack();

  // 0: free; 1: taken; 2: taken, and somebody may wait.
  FutexWord state_{0};
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TURN_H_
