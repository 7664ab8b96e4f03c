#include "mp/base/fork_hook.h"

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "mp/base/fork_safe_mutex.h"

namespace mp {
namespace {

struct List {
  ForkSafeMutex mutex;
  ForkHook* first ABSL_GUARDED_BY(mutex) = nullptr;
  ForkHook* last ABSL_GUARDED_BY(mutex) = nullptr;
};

List& AllHooks() {
  static List& list = *new List;  // outlives exit handlers
  return list;
}

}  // namespace

ForkHook::ForkHook(std::function<void()> run) : run_(std::move(run)) {
  List& all = AllHooks();
  ForkSafeLock lock(all.mutex);
  previous_ = std::exchange(all.last, this);
  (previous_ == nullptr ? all.first : previous_->next_) = this;
}

ForkHook::~ForkHook() {
  List& all = AllHooks();
  ForkSafeLock lock(all.mutex);
  (previous_ == nullptr ? all.first : previous_->next_) = next_;
  (next_ == nullptr ? all.last : next_->previous_) = previous_;
}

void ForkHook::RunAll() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  List& all = AllHooks();
  all.mutex.Reset();  // there are no other threads
  for (ForkHook* hook = all.first; hook != nullptr; hook = hook->next_) {
    hook->run_();
  }
}

}  // namespace mp
