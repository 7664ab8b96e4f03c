#include "mp/process/finalizer.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mp/base/bury.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/runner.h"

namespace mp {

struct Finalizer::State {
  std::function<void()> callback;  // none once it has been taken
  const std::optional<int> exit_priority;
  const pid_t owner;
  uint64_t number;  // the order in which they were made
};

// Those of this process that have a priority and are still to run, and the
// mutex for the states of all.
struct FinalizerRegistry {
  using State = Finalizer::State;

  static FinalizerRegistry& Get();

  void Add(std::shared_ptr<State> state);

  // Returns what the finalizer is to do and takes it off it; nothing if it is
  // done or another process's.
  std::function<void()> Take(State& state);

  // The same for the next one at exit, of `min_priority` or above.
  std::function<void()> TakeNext(std::optional<int> min_priority);

  bool IsActive(const State& state);

  std::atomic<bool> someone_runs_them_at_exit{false};

 private:
  FinalizerRegistry() { internal::HoldAcrossForks(mutex_); }
  void ForgetThoseOfParent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::function<void()> TakeLocked(State& state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ForkSafeMutex mutex_;
  pid_t owner_ ABSL_GUARDED_BY(mutex_) = getpid();
  uint64_t made_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<State>> states_ ABSL_GUARDED_BY(mutex_);
};

namespace {

void RunAtExit() {
  if (FinalizerRegistry::Get().someone_runs_them_at_exit) return;
  internal::RunFinalizers(std::nullopt);
}

// Runs what has nobody to catch what it throws.
void RunAndReport(const std::function<void()>& callback) {
  const absl::Status status = internal::RunCatching([&] {
    callback();
    return absl::OkStatus();
  });
  if (status.ok()) return;
  internal::Complain(absl::StrCat("a finalizer failed: ", status.ToString()));
}

}  // namespace

FinalizerRegistry& FinalizerRegistry::Get() {
  static FinalizerRegistry& registry =
      *new FinalizerRegistry;  // outlives exit handlers
  return registry;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] static const bool made_early =
    (FinalizerRegistry::Get(), true);

void FinalizerRegistry::ForgetThoseOfParent() {
  if (owner_ == getpid()) return;
  owner_ = getpid();
  Bury(states_);  // what they hold is not to be destroyed here
}

void FinalizerRegistry::Add(std::shared_ptr<State> state) {
  static std::atomic<bool> watched{false};
  if (!watched.exchange(true)) std::atexit(RunAtExit);
  ForkSafeLock lock(mutex_);
  ForgetThoseOfParent();
  state->number = ++made_;
  states_.push_back(std::move(state));
}

std::function<void()> FinalizerRegistry::TakeLocked(State& state) {
  if (state.owner != getpid()) return nullptr;
  if (state.exit_priority.has_value()) {
    const auto is_it = [&](const auto& other) { return other.get() == &state; };
    states_.erase(std::remove_if(states_.begin(), states_.end(), is_it),
                  states_.end());
  }
  return std::exchange(state.callback, nullptr);
}

std::function<void()> FinalizerRegistry::Take(State& state) {
  ForkSafeLock lock(mutex_);
  return TakeLocked(state);
}

std::function<void()> FinalizerRegistry::TakeNext(
    std::optional<int> min_priority) {
  ForkSafeLock lock(mutex_);
  const auto next = std::max_element(
      states_.begin(), states_.end(), [](const auto& a, const auto& b) {
        return std::tie(a->exit_priority, a->number) <
               std::tie(b->exit_priority, b->number);
      });
  if (next == states_.end() || (*next)->exit_priority < min_priority) {
    return nullptr;
  }
  const std::shared_ptr<State> state = *next;
  return TakeLocked(*state);
}

bool FinalizerRegistry::IsActive(const State& state) {
  ForkSafeLock lock(mutex_);
  return state.owner == getpid() && state.callback != nullptr;
}

Finalizer::Finalizer(std::function<void()> callback,
                     std::optional<int> exit_priority)
    : state_(new State{std::move(callback), exit_priority, getpid(), 0}) {
  const bool runs_at_exit = state_->callback && exit_priority.has_value();
  if (runs_at_exit) FinalizerRegistry::Get().Add(state_);
}

Finalizer& Finalizer::operator=(Finalizer&& other) noexcept {
  Finalizer before;  // runs when it goes
  before.state_ = std::exchange(state_, std::move(other.state_));
  return *this;
}

Finalizer::~Finalizer() {
  if (state_ == nullptr) return;
  const auto callback = FinalizerRegistry::Get().Take(*state_);
  if (callback) RunAndReport(callback);
}

bool Finalizer::Run() {
  if (state_ == nullptr) return false;
  const auto callback = FinalizerRegistry::Get().Take(*state_);
  if (callback) callback();
  return callback != nullptr;
}

void Finalizer::Cancel() {
  if (state_ != nullptr) FinalizerRegistry::Get().Take(*state_);
}

bool Finalizer::still_active() const {
  return state_ != nullptr && FinalizerRegistry::Get().IsActive(*state_);
}

namespace internal {

void RunFinalizers(std::optional<int> min_priority) {
  FinalizerRegistry& registry = FinalizerRegistry::Get();
  while (const auto callback = registry.TakeNext(min_priority)) {
    RunAndReport(callback);
  }
}

void TakeOverFinalizersAtExit() {
  std::atomic<bool>& taken_over =
      FinalizerRegistry::Get().someone_runs_them_at_exit;
  // Where it is so already, as in a fork server's child, the page stays shared.
  if (!taken_over) taken_over = true;
}

}  // namespace internal
}  // namespace mp
