#include "mp/process/after_fork.h"

#include <cxxabi.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/log.h"

namespace mp {

struct AfterForkList {
  static AfterForkList& Get();

  void Add(AfterFork& added);
  void Remove(AfterFork& removed);

  // Begins a round, in which each that is there now has its turn once.
  void BeginRound();
  // Returns what the next one is to do; nothing if all have had their turn.
  std::optional<std::function<void()>> Next();

 private:
  AfterForkList() { internal::HoldAcrossForks(mutex_); }

  ForkSafeMutex mutex_;
  uint64_t made_ ABSL_GUARDED_BY(mutex_) = 0;
  AfterFork* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
  AfterFork* last_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Of the round: whose turn it is, and the number of the last one.
  AfterFork* next_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint64_t until_ ABSL_GUARDED_BY(mutex_) = 0;
};

AfterForkList& AfterForkList::Get() {
  static AfterForkList& list = *new AfterForkList;  // outlives exit handlers
  return list;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early = (AfterForkList::Get(), true);

void AfterForkList::Add(AfterFork& added) {
  ForkSafeLock lock(mutex_);
  added.number_ = ++made_;
  added.previous_ = std::exchange(last_, &added);
  (added.previous_ == nullptr ? first_ : added.previous_->next_) = &added;
}

void AfterForkList::Remove(AfterFork& removed) {
  ForkSafeLock lock(mutex_);
  AfterFork* const previous = removed.previous_;
  AfterFork* const next = removed.next_;
  (previous == nullptr ? first_ : previous->next_) = next;
  (next == nullptr ? last_ : next->previous_) = previous;
  if (next_ == &removed) next_ = next;
}

void AfterForkList::BeginRound() {
  ForkSafeLock lock(mutex_);
  next_ = first_;
  until_ = made_;
}

std::optional<std::function<void()>> AfterForkList::Next() {
  ForkSafeLock lock(mutex_);
  if (next_ == nullptr || next_->number_ > until_) return std::nullopt;
  AfterFork* const turn = std::exchange(next_, next_->next_);
  return turn->callback_;  // a copy: it may destroy its own object
}

AfterFork::AfterFork(std::function<void()> callback)
    : callback_(std::move(callback)) {
  AfterForkList::Get().Add(*this);
}

AfterFork::~AfterFork() { AfterForkList::Get().Remove(*this); }

namespace internal {

void RunAfterFork() {
  AfterForkList& list = AfterForkList::Get();
  list.BeginRound();
  while (const auto callback = list.Next()) {
    try {
      (*callback)();
    } catch (const abi::__forced_unwind&) {
      throw;  // pthread_exit() has to go on
    } catch (const std::exception& e) {
      GetLogger().Log(LogLevel::kWarning, "AfterFork: uncaught ", e.what());
    } catch (...) {
      GetLogger().Log(LogLevel::kWarning, "AfterFork: uncaught exception");
    }
  }
}

}  // namespace internal
}  // namespace mp
