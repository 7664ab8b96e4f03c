#include "mp/process/internal/guarded_exchange.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/exchange.h"

namespace mp::internal {

absl::Status GuardedExchange::Run(std::string text, const Deadline& deadline) {
  ForkSafeLock lock(mutex_);
  return exchange_.Run(std::move(text), deadline);
}

void GuardedExchange::ClosePipes() {
  exchange_.input.pipe.Close();
  for (Exchange::Output& output : exchange_.outputs) output.end.pipe.Close();
}

void GuardedExchange::CloseAtExit() {
  // A thread that is at the pipes sees to it that the programs can go on.
  if (!mutex_.LockUntil(Deadline(absl::ZeroDuration()))) return;
  ClosePipes();
  mutex_.Unlock();
}

}  // namespace mp::internal
