#include "mp/sync/internal/lock_word.h"

#include <climits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// How long one waits before it looks for the first time who lives, and before
// those that come later have to stand back.
constexpr absl::Duration kPatience = absl::Milliseconds(2);

// How long it is from one look to the next.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

// One who waits for a lock.
class Waiter {
 public:
  Waiter(const Deadline& deadline, bool has_slept)
      : deadline_(deadline), has_slept_(has_slept) {}

  bool has_slept() const { return has_slept_; }

  // Whether it may take a lock whose word is `seen`.
  bool MayTake(uint32_t seen) const {
    if ((seen & (LockWord::kOwner | LockWord::kAbandoned)) != 0) return false;
    // One that cannot wait would never get it from one that waits no more.
    return (seen & LockWord::kHandover) == 0 || has_slept_ ||
           deadline_.Expired();
  }

  // What the word becomes when it takes it. Others may sleep of whom a release
  // that woke this one has said nothing, and they may have waited for as long:
  // they come next, one after another, until one has not.
  uint32_t Taken(uint32_t seen, MemberId self) const {
    if (!has_slept_) return self | (seen & LockWord::kWaiters);
    return self | Asleep(0);
  }

  // Whether it is time to look if the holder lives: now and then, no matter how
  // often it was woken meanwhile, and at the end.
  bool IsToLook() {
    is_over_ = deadline_.Expired();
    return is_over_ || next_look_.Expired();
  }
  bool is_over() const { return is_over_; }
  void HasLooked() {
    next_look_ = Deadline(kSlice);
    is_impatient_ = true;
  }

  // What the word becomes before it sleeps.
  uint32_t Asleep(uint32_t seen) const {
    return seen | LockWord::kWaiters |
           (is_impatient_ ? LockWord::kHandover : 0);
  }

  void Sleep(FutexWord& word, uint32_t expected) {
    const bool ends_before = deadline_.Remaining() < next_look_.Remaining();
    FutexWait(word, expected, ends_before ? deadline_ : next_look_);
    has_slept_ = true;
  }

 private:
  const Deadline& deadline_;
  Deadline next_look_{kPatience};
  bool has_slept_;
  bool is_impatient_ = false;
  bool is_over_ = false;
};

}  // namespace

absl::Status LockWord::AcquireSlowly(const Deadline& deadline, bool has_slept) {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  Waiter waiter(deadline, has_slept);
  uint32_t seen = state_.word.load();
  while (true) {
    bool may_take = waiter.MayTake(seen);
    if (!may_take && (waiter.IsToLook() || (seen & kAbandoned) != 0)) {
      const Finding finding = Look(seen);
      if (finding == Finding::kChanged) continue;
      if (finding == Finding::kAbandoned) return Abandoned("Acquire");
      may_take = finding == Finding::kOrphaned;
      if (!may_take && waiter.is_over()) return GiveUp(waiter.has_slept());
      waiter.HasLooked();
    }
    const uint32_t wanted =
        may_take ? waiter.Taken(seen, self) : waiter.Asleep(seen);
    if (wanted != seen && !state_.word.compare_exchange_weak(seen, wanted)) {
      continue;
    }
    if (may_take) return absl::OkStatus();
    waiter.Sleep(state_.word, wanted);
    seen = state_.word.load();
  }
}

// A release may have woken this process in vain, and not another.
absl::Status LockWord::GiveUp(bool has_slept) {
  if (has_slept) {
    const uint32_t before = state_.word.fetch_or(kWaiters);
    if ((before & kOwner) == kNobody) FutexWake(state_.word, 1);
  }
  return absl::DeadlineExceededError(
      absl::StrCat(ToString(), "::Acquire: not released before the deadline"));
}

absl::Status LockWord::ReleaseSlowly() {
  const MemberId self = members_.self();
  uint32_t seen = state_.word.load();
  while (true) {
    if ((seen & (kOwner | kAbandoned)) == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(name_, "::Release: nobody holds it"));
    }
    if (self == kNobody || (seen & kOwner) != self) {
      const Finding finding = Look(seen);
      if (finding == Finding::kChanged) continue;
      if (finding == Finding::kAbandoned) return Abandoned("Release");
    }
    uint32_t released = seen & (kAbandoned | kHandover);
    if ((seen & kHandover) != 0) released |= seen & kWaiters;
    if (state_.word.compare_exchange_weak(seen, released)) break;
  }
  if ((seen & kWaiters) == 0) return absl::OkStatus();
  const bool all = (seen & kAbandoned) != 0;
  if (FutexWake(state_.word, all ? INT_MAX : 1) == 0) StopHandover();
  return absl::OkStatus();
}

// Nobody sleeps for whom it would be kept, but those that stand back.
void LockWord::StopHandover() {
  uint32_t kept = kWaiters | kHandover;
  if (state_.word.compare_exchange_strong(kept, 0)) FutexWake(state_.word, 1);
}

absl::Status LockWord::AcquireAbandoned() {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  uint32_t seen = state_.word.load();
  while (true) {
    const Finding finding = Look(seen);
    if (finding == Finding::kChanged) continue;
    if (finding != Finding::kAbandoned) {
      const bool in_repair = (seen & kAbandoned) != 0;
      return absl::FailedPreconditionError(absl::StrCat(
          ToString(), "::AcquireAbandoned: ",
          in_repair ? "Acquire() waits for the repair" : "not abandoned"));
    }
    if (state_.word.compare_exchange_weak(
            seen, self | (seen & (kWaiters | kHandover | kAbandoned)))) {
      return absl::OkStatus();
    }
  }
}

absl::Status LockWord::MarkRepaired() {
  if (!IsOwn() || (state_.word.fetch_and(~kAbandoned) & kAbandoned) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        name_,
        "::MarkRepaired: this process has not got it by AcquireAbandoned()"));
  }
  return absl::OkStatus();
}

pid_t LockWord::OwnerPid() const {
  const MemberId owner = Owner();
  return owner == kNobody ? 0 : members_.PidOf(owner);
}

std::string LockWord::ToString() const {
  const uint32_t seen = state_.word.load();
  const MemberId owner = seen & kOwner;
  const bool is_abandoned = (seen & kAbandoned) != 0;
  if (owner == kNobody) {
    return absl::StrCat(name_, is_abandoned ? "(abandoned)" : "(free)");
  }
  if (members_.IsGone(owner)) {
    return absl::StrCat(name_, "(its holder, pid ", members_.PidOf(owner),
                        ", has ended)");
  }
  return absl::StrCat(name_, is_abandoned ? "(in repair by " : "(held by ",
                      "pid ", members_.PidOf(owner), ")");
}

// That the word changes from `seen`, or does not, proves in either case that it
// was still `seen` when its owner was found to be gone.
LockWord::Finding LockWord::Look(uint32_t& seen) {
  const MemberId owner = seen & kOwner;
  const bool is_marked = (seen & kAbandoned) != 0;
  if (owner == kNobody && !is_marked) return Finding::kInOrder;
  if (owner != kNobody) {
    if (!members_.IsGone(owner)) return Finding::kInOrder;
    if (!is_marked && IsToIgnore()) return Finding::kOrphaned;
    NoteDead(seen);
  }
  if (!state_.word.compare_exchange_strong(seen, seen | kAbandoned)) {
    return Finding::kChanged;
  }
  seen |= kAbandoned;
  if (!is_marked) FutexWake(state_.word, INT_MAX);
  return Finding::kAbandoned;
}

// The death of a holder.
bool LockWord::IsToIgnore() const {
  if (state_.on_owner_death.load() == OnOwnerDeath::kIgnore) return true;
  return matters_ != nullptr && matters_->load() == 0;
}

// Not if another has got ahead with it, and with the death of the next holder.
void LockWord::NoteDead(uint32_t seen) {
  const MemberId owner = seen & kOwner;
  uint64_t noted = state_.dead.load();
  if (state_.word.load() != seen) return;
  const auto pid = static_cast<uint32_t>(members_.PidOf(owner));
  if (pid == 0) return;
  state_.dead.compare_exchange_strong(noted, uint64_t{owner} << 32 | pid);
}

absl::Status LockWord::Abandoned(absl::string_view operation) const {
  return absl::AbortedError(absl::StrCat(
      name_, "::", operation, ": pid ", state_.dead.load() & UINT32_MAX,
      " ended while holding it; AcquireAbandoned() to repair what it guards"));
}

}  // namespace mp::internal
