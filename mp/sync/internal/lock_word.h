#ifndef MP_SYNC_INTERNAL_LOCK_WORD_H_
#define MP_SYNC_INTERNAL_LOCK_WORD_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"

namespace mp {

// What becomes of a lock whose holder ended without releasing it.
enum class OnOwnerDeath : uint32_t {
  kReport,  // nobody gets it until one has repaired what it guards
  kIgnore,  // the next one simply gets it: nothing it guards can be half done
};

namespace internal {

// The shared part of a lock, all zero for a free one.
//
// Shape: 16 bytes. docs/sync_format.md says what each bit is.
struct LockWordState {
  FutexWord word;
  std::atomic<OnOwnerDeath> on_owner_death;
  // Who died last: its MemberId above its pid.
  std::atomic<uint64_t> dead;
};
static_assert(sizeof(LockWordState) == 16);

// A lock between processes, of which every change is one store, so that a
// process can be killed anywhere in it. Everything else that locks is made of
// it: Lock, RLock, Condition, RwLock.
//
// Example:
//   LockWord lock(state, members, "Lock");
//   MP_RETURN_IF_ERROR(lock.Acquire(absl::Seconds(1)));
//   ...
//   MP_RETURN_IF_ERROR(lock.Release());
//
// Of those who wait, whoever comes first gets it, which is what makes it fast;
// but one that has waited for 2 ms has it handed over to those who sleep, in
// their order, until they have not waited for so long.
//
// Owns:    nothing: `state` and `members` outlive it.
// Threads: safe from any. The process holds it, not the thread.
// Death:   a dead holder is noticed within 50 ms by those who wait, and by
//          those who come within 2 ms. One that is killed between its release
//          and the wake of another costs that one 50 ms at most.
// Source:  man 2 futex; U. Drepper, "Futexes Are Tricky", for the mutex that it
//          is where nobody dies.
class LockWord {
 public:
  static constexpr uint32_t kWaiters = uint32_t{1} << 31;
  static constexpr uint32_t kAbandoned = uint32_t{1} << 30;
  static constexpr uint32_t kHandover = uint32_t{1} << 29;
  static constexpr uint32_t kOwner = kMemberIdMask;

  // `name` is what messages call it. A holder that ends while there is a
  // `matters`, and it is 0, is ignored in any case.
  LockWord(LockWordState& state, Members& members, absl::string_view name,
           const std::atomic<uint32_t>* matters = nullptr)
      : state_(state), members_(members), name_(name), matters_(matters) {}

  // Waits until it is this process's.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kAborted             its holder died; it is nobody's until one calls
  //                        AcquireAbandoned().
  //   kResourceExhausted   this process cannot become a member.
  absl::Status Acquire(absl::Duration timeout) {
    uint32_t free = 0;
    const MemberId self = members_.self();
    if (self != kNobody && state_.word.compare_exchange_strong(free, self)) {
      return absl::OkStatus();
    }
    return AcquireSlowly(Deadline(timeout), /*has_slept=*/false);
  }

  // The same for one that was woken and does not know who else sleeps.
  absl::Status AcquireAfterSleep(const Deadline& deadline) {
    return AcquireSlowly(deadline, /*has_slept=*/true);
  }

  // Gives it back, whichever process holds it.
  //
  // Errors:
  //   kFailedPrecondition  nobody holds it.
  //   kAborted             its holder died, so it is not to be released but to
  //                        be repaired.
  absl::Status Release() {
    uint32_t self = members_.self();
    if (self != kNobody && state_.word.compare_exchange_strong(
                               self, 0, std::memory_order_release)) {
      return absl::OkStatus();
    }
    return ReleaseSlowly();
  }

  // Makes an abandoned one this process's, to repair what it guards. If that is
  // not said to be done by MarkRepaired() before Release(), or this process
  // dies as well, it is abandoned again.
  //
  // Errors:
  //   kFailedPrecondition  it is not abandoned, or somebody is repairing it.
  absl::Status AcquireAbandoned();

  // Errors:
  //   kFailedPrecondition  this process has not got it by AcquireAbandoned().
  absl::Status MarkRepaired();

  // Whether this process holds it.
  bool IsOwn() const {
    const MemberId self = members_.self();
    return self != kNobody && Owner() == self;
  }

  // Whether somebody holds it, or held it and died. Sequentially consistent, as
  // Acquire() is: see RwLockCore.
  bool IsTaken() const {
    return (state_.word.load() & (kOwner | kAbandoned)) != 0;
  }

  // The pid of the process that holds it, in its own namespace; 0 for none.
  pid_t OwnerPid() const;

  // Another number whenever a holder has died since, other than one that is to
  // be ignored, and others were told: for one that was not there meanwhile.
  uint64_t LastDeath() const { return state_.dead.load(); }

  // Who holds it, as in "Lock(held by pid 4711)".
  std::string ToString() const;

  absl::string_view name() const { return name_; }

  // Has Release() wake one that sleeps, as there is one that will have been
  // moved there from another word. For the holder.
  void ExpectSleeper() { state_.word.fetch_or(kWaiters); }

  FutexWord& word() { return state_.word; }

 private:
  MemberId Owner() const {
    return state_.word.load(std::memory_order_relaxed) & kOwner;
  }

  // What became of the one who holds it.
  enum class Finding {
    kInOrder,    // it lives, or there is none
    kOrphaned,   // it died, which is to be ignored
    kAbandoned,  // it died, which the word says by now
    kChanged,    // not known: the word has changed meanwhile
  };

  absl::Status AcquireSlowly(const Deadline& deadline, bool has_slept);
  absl::Status ReleaseSlowly();
  void StopHandover();
  absl::Status GiveUp(bool has_slept);

  // `seen` is what the word was, and is what it is afterwards.
  Finding Look(uint32_t& seen);
  bool IsToIgnore() const;
  void NoteDead(uint32_t seen);
  absl::Status Abandoned(absl::string_view operation) const;

  LockWordState& state_;
  Members& members_;
  const absl::string_view name_;
  const std::atomic<uint32_t>* const matters_;
};

}  // namespace internal
}  // namespace mp

#endif  // MP_SYNC_INTERNAL_LOCK_WORD_H_
