#ifndef MP_PROCESS_INTERNAL_GUARDED_EXCHANGE_H_
#define MP_PROCESS_INTERNAL_GUARDED_EXCHANGE_H_

#include <string>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/after_fork.h"
#include "mp/process/finalizer.h"
#include "mp/process/internal/exchange.h"

namespace mp::internal {

// An Exchange whose pipes nobody else has open: a child that is forked
// meanwhile closes them, and this process does when it exits, before it waits
// for its children, which may wait for the end of a pipe.
class GuardedExchange {
 public:
  GuardedExchange() = default;
  GuardedExchange(const GuardedExchange&) = delete;
  GuardedExchange& operator=(const GuardedExchange&) = delete;

  // For one thread at a time, while Run() does not run.
  Exchange& exchange() { return exchange_; }

  absl::Status Run(std::string text, const Deadline& deadline);

 private:
  void ClosePipes();
  void CloseAtExit();

  ForkSafeMutex mutex_;  // held by whoever is at the pipes
  Exchange exchange_;
  AfterFork forked_{[this] { ClosePipes(); }};
  Finalizer exiting_{[this] { CloseAtExit(); }, /*exit_priority=*/0};
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_GUARDED_EXCHANGE_H_
