#include "mp/sync/condition.h"

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/arena.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/serializer.h"
#include "mp/sync/internal/condition_core.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/internal/rlock_core.h"
#include "mp/sync/lock.h"
#include "mp/sync/rlock.h"

namespace mp {
namespace {

using internal::ConditionCore;
using internal::LockWord;
using internal::Placed;
using internal::RLockCore;

// The two kinds of lock, for what is done with either.
class HeldLock : public internal::ReleasedLockWord {
 public:
  explicit HeldLock(const Lock& lock)
      : ReleasedLockWord(word_),
        word_(lock.placed()->word, lock.placed().members(), "Lock") {}

  bool IsOwn() const { return word_.IsOwn(); }
  LockWord& word() { return word_; }

 private:
  LockWord word_;
};

class HeldRLock : public internal::ReleasedLock {
 public:
  explicit HeldRLock(const RLock& lock)
      : core_(lock.placed()->core, lock.placed().members(), "RLock") {}

  absl::Status Release() override { return core_.ReleaseAll(depth_); }
  absl::Status AcquireAfterSleep() override {
    return core_.AcquireAfterSleep(Deadline(absl::InfiniteDuration()), depth_);
  }

  bool IsOwn() const { return core_.IsOwn(); }
  LockWord& word() { return core_.word(); }

 private:
  RLockCore core_;
  uint32_t depth_ = 0;
};

HeldLock Held(const Lock& lock) { return HeldLock(lock); }
HeldRLock Held(const RLock& lock) { return HeldRLock(lock); }

}  // namespace

absl::StatusOr<Condition> Condition::Create(const Options& options) {
  MP_ASSIGN_OR_RETURN(RLock lock, RLock::Create());
  return CreateWith(std::move(lock), options);
}

absl::StatusOr<Condition> Condition::Create(Lock lock, const Options& options) {
  return CreateWith(std::move(lock), options);
}

absl::StatusOr<Condition> Condition::Create(RLock lock,
                                            const Options& options) {
  return CreateWith(std::move(lock), options);
}

absl::StatusOr<Condition> Condition::CreateWith(AnyLock lock,
                                                const Options& options) {
  const int max_waiters = options.max_waiters;
  if (max_waiters < 1 || max_waiters > kMaxWaiters) {
    return absl::InvalidArgumentError(
        absl::StrCat("Condition::Create: max_waiters is ", max_waiters,
                     "; it can be 1 to ", kMaxWaiters));
  }
  const size_t size_bytes =
      sizeof(ConditionState) + max_waiters * sizeof(ConditionCell);
  MP_ASSIGN_OR_RETURN(auto placed, Placed<ConditionState>::Create(size_bytes));
  placed->max_waiters = static_cast<uint32_t>(max_waiters);
  return Condition(std::move(placed), std::move(lock));
}

absl::StatusOr<Condition> Condition::At(ConditionState* state,
                                        size_t size_bytes, AnyLock lock,
                                        const Arena& arena) {
  MP_ASSIGN_OR_RETURN(auto placed,
                      Placed<ConditionState>::At(state, arena, size_bytes));
  return Condition(std::move(placed), std::move(lock));
}

absl::Status Condition::Acquire(absl::Duration timeout) {
  return std::visit([&](auto& lock) { return lock.Acquire(timeout); }, lock_);
}

absl::Status Condition::Release() {
  MP_RETURN_IF_ERROR(CheckHolds("Condition::Release"));
  return std::visit([](auto& lock) { return lock.Release(); }, lock_);
}

absl::Status Condition::AcquireAbandoned() {
  return std::visit([](auto& lock) { return lock.AcquireAbandoned(); }, lock_);
}

absl::Status Condition::MarkRepaired() {
  return std::visit([](auto& lock) { return lock.MarkRepaired(); }, lock_);
}

bool Condition::try_lock() {
  return std::visit([](auto& lock) { return lock.try_lock(); }, lock_);
}

absl::Status Condition::Wait(absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckHolds("Condition::Wait"));
  return WaitUntil(Deadline(timeout));
}

absl::Status Condition::WaitFor(absl::FunctionRef<bool()> predicate,
                                absl::Duration timeout) {
  MP_RETURN_IF_ERROR(CheckHolds("Condition::WaitFor"));
  const Deadline deadline(timeout);
  while (!predicate()) {
    const absl::Status status = WaitUntil(deadline);
    if (status.ok()) continue;
    if (!absl::IsDeadlineExceeded(status) || !predicate()) return status;
    break;
  }
  return absl::OkStatus();
}

absl::Status Condition::WaitUntil(const Deadline& deadline) {
  return std::visit(
      [&](const auto& lock) {
        auto held = Held(lock);
        return Core(held.word(), lock.placed().members()).Wait(held, deadline);
      },
      lock_);
}

absl::Status Condition::Notify(int count) {
  MP_RETURN_IF_ERROR(CheckHolds("Condition::Notify"));
  if (count < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Condition::Notify: count is ", count, "; it cannot be negative"));
  }
  std::visit(
      [&](const auto& lock) {
        auto held = Held(lock);
        Core(held.word(), lock.placed().members()).Notify(count);
      },
      lock_);
  return absl::OkStatus();
}

absl::Status Condition::NotifyAll() {
  MP_RETURN_IF_ERROR(CheckHolds("Condition::NotifyAll"));
  return Notify(INT_MAX);
}

int Condition::waiting() const {
  if (!placed_) return 0;
  return std::visit(
      [&](const auto& lock) {
        if (!lock.placed()) return 0;
        auto held = Held(lock);
        return Core(held.word(), lock.placed().members()).CountWaiting();
      },
      lock_);
}

std::string Condition::ToString() const {
  if (!placed_) return "Condition(empty)";
  return absl::StrCat(
      "Condition(",
      std::visit([](const auto& lock) { return lock.ToString(); }, lock_), ", ",
      waiting(), " waiting)");
}

ConditionCore Condition::Core(LockWord& word,
                              const Members& lock_members) const {
  const size_t cells =
      (placed_.size_bytes() - sizeof(ConditionState)) / sizeof(ConditionCell);
  auto* const first = reinterpret_cast<ConditionCell*>(placed_.get() + 1);
  return ConditionCore(*placed_, absl::MakeSpan(first, cells),
                       placed_.members(), word, lock_members);
}

bool Condition::HoldsLock() const {
  return std::visit(
      [](const auto& lock) { return lock.placed() && Held(lock).IsOwn(); },
      lock_);
}

absl::Status Condition::CheckHolds(absl::string_view operation) const {
  if (!placed_) return placed_.Nothing(operation);
  if (HoldsLock()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      operation, ": this process or thread does not hold the lock of ",
      ToString()));
}

void Serializer<Condition>::Encode(const Condition& condition,
                                   Encoder& encoder) {
  condition.placed_.Encode(encoder, "Condition");
  encoder.Write(condition.lock_);
}

absl::StatusOr<Condition> Serializer<Condition>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(auto placed, Placed<ConditionState>::Decode(decoder));
  MP_ASSIGN_OR_RETURN(auto lock, decoder.Read<Condition::AnyLock>());
  return Condition(std::move(placed), std::move(lock));
}

}  // namespace mp
