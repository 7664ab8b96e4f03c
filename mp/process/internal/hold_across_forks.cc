#include "mp/process/internal/hold_across_forks.h"

#include <pthread.h>

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "mp/base/fork_safe_mutex.h"

namespace mp::internal {
namespace {

// A list that only grows, so that it can be read at any time.
struct Held {
  ForkSafeMutex& mutex;
  Held* next;
};
std::atomic<Held*> first{nullptr};

// What the fork that goes on has locked; one more may come before it is over.
// The mutex that was first of all, which each fork takes last, guards this too.
Held* locked = nullptr;

void LockAll() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Held* const all = first.load();
  for (Held* held = all; held != nullptr; held = held->next) {
    held->mutex.Lock();
  }
  locked = all;
}

void UnlockAll() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (Held* held = locked; held != nullptr; held = held->next) {
    held->mutex.Unlock();
  }
}

}  // namespace

void HoldAcrossForks() {
  static const bool watched =
      (pthread_atfork(LockAll, UnlockAll, UnlockAll), true);
  static_cast<void>(watched);
}

void HoldAcrossForks(ForkSafeMutex& mutex) {
  HoldAcrossForks();
  Held* const held = new Held{mutex, first.load()};
  while (!first.compare_exchange_weak(held->next, held)) {
  }
}

}  // namespace mp::internal
