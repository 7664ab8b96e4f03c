#ifndef MP_IPC_INTERNAL_TURN_H_
#define MP_IPC_INTERNAL_TURN_H_

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "mp/base/deadline.h"

namespace mp::internal {

// Lets the threads of a process take turns at something that may block for
// long, each with its own deadline.
//
// Example:
//   Turn::Holder holder(turn, deadline);
//   MP_RETURN_IF_ERROR(holder.status());
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
  absl::Mutex mutex_;
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TURN_H_
