#ifndef MP_SYNC_SEMAPHORE_H_
#define MP_SYNC_SEMAPHORE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/guard.h"
#include "mp/sync/internal/semaphore_core.h"
#include "mp/sync/internal/semaphore_place.h"

namespace mp {

struct SemaphoreOptions {
  // How many units there are at first, 0 to 2147483647; with kGiveBack up to
  // 16,000. The first 256, or all with kGiveBack, cost 4 bytes each.
  uint32_t value = 1;

  // What becomes of the units that a process has acquired when it ends.
  // kGiveBack is for resources, which come back; not for signals, which one
  // process releases for another to acquire.
  OnHolderDeath on_holder_death = OnHolderDeath::kKeep;
};

// A number of units, for processes to acquire and release.
//
// Example:
//   // At most three at a time.
//   MP_ASSIGN_OR_RETURN(Semaphore slots, Semaphore::Create({.value = 3}));
//   absl::Status Fetch(mp::Semaphore slots) {
//     MP_ASSIGN_OR_RETURN(SemaphoreGuard slot, SemaphoreGuard::Take(slots));
//     ...
//   }
//   // One unit for each message.
//   MP_ASSIGN_OR_RETURN(Semaphore ready, Semaphore::Create({.value = 0}));
//
// Any process may release, whether it has acquired or not, so a unit that
// Acquire() took belongs to nobody. One that a guard took, or lock(), belongs
// to the process.
//
// Not fair: whoever comes first gets a unit.
//
// Shape:   a handle. What is shared are 32 bytes, and 4 for each of the first
//          units, in a slot of an arena, or wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only tries.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any. The process holds units: another thread may release.
// Fork:    travels to any process, as an argument or in a message. A child that
//          is forked by the program itself holds none of its parent's units.
// Death:   units of guards come back when their process ends, and those of
//          Acquire() if the options say so: within 50 ms for those that wait. A
//          guard whose unit was released beyond the first `value` is the
//          exception. A process that is killed inside a call has done it or
//          not.
// Source:  CPython multiprocessing.Semaphore. Differs: deadlines are on the
//          monotonic clock.
class Semaphore {
 public:
  using Options = SemaphoreOptions;

  // An empty handle, of which every use is kFailedPrecondition.
  Semaphore() = default;

  // Makes one, in this process's default arena.
  //
  // Errors:
  //   kInvalidArgument    the value is too large.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<Semaphore> Create(const Options& options = {});

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  template <uint32_t kUnits>
  static absl::StatusOr<Semaphore> At(SemaphoreStateOf<kUnits>* state,
                                      const Arena& arena) {
    MP_ASSIGN_OR_RETURN(auto place, internal::SemaphorePlace::At(state, arena));
    return Semaphore(std::move(place));
  }

  // Waits for a unit and takes it.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kResourceExhausted   with kGiveBack: 4096 processes share the arena, or
  //                        there are no descriptors left for this one to become
  //                        one of them.
  //   kFailedPrecondition  the handle is empty.
  // Source: CPython Semaphore.acquire(block, timeout).
  absl::Status Acquire(absl::Duration timeout = absl::InfiniteDuration()) {
    if (!place_) return Nothing("Semaphore::Acquire");
    return Core().Acquire(timeout);
  }

  // Adds a unit and wakes one that waits for it.
  //
  // Errors:
  //   kOutOfRange          the value would be more than 2147483647.
  //   kFailedPrecondition  the handle is empty.
  // Source: CPython Semaphore.release().
  absl::Status Release() {
    if (!place_) return Nothing("Semaphore::Release");
    return Core().Release();
  }

  // The same where the process is known to hold the unit, so that it comes back
  // when that ends. What SemaphoreGuard does; each goes with the other.
  absl::Status AcquireAsHolder(
      absl::Duration timeout = absl::InfiniteDuration());
  absl::Status ReleaseAsHolder();

  // How many units are free. Others may change that meanwhile.
  //
  // Source: CPython Semaphore.get_value().
  uint32_t value() const { return place_ ? Core().Value() : 0; }

  // Whether there are none.
  //
  // Source: CPython 3.14 Semaphore.locked().
  bool Locked() const { return place_ && Core().Value() == 0; }

  // As in "Semaphore(value 2)".
  std::string ToString() const;

  // As std::mutex, by AcquireAsHolder(); see Lock::lock().
  void lock() { MP_CHECK_OK(AcquireAsHolder()); }
  void unlock() { MP_CHECK_OK(ReleaseAsHolder()); }
  bool try_lock();

  // Whether both are handles of the same semaphore.
  friend bool operator==(const Semaphore&, const Semaphore&) = default;

 private:
  friend Serializer<Semaphore>;

  explicit Semaphore(internal::SemaphorePlace place)
      : place_(std::move(place)) {}

  absl::Status Nothing(absl::string_view operation) const {
    return place_.placed().Nothing(operation);
  }
  internal::SemaphoreCore Core() const {
    using Kind = internal::SemaphoreCore::Kind;
    const bool is_plain =
        place_.state().on_holder_death == OnHolderDeath::kKeep;
    return place_.Core(is_plain ? Kind::kPlain : Kind::kGiveBack);
  }

  internal::SemaphorePlace place_;
};

// Holds a unit for a scope: SemaphoreGuard::Take(semaphore, timeout).
using SemaphoreGuard = internal::Guard<Semaphore, &Semaphore::AcquireAsHolder,
                                       &Semaphore::ReleaseAsHolder>;

template <>
struct Serializer<Semaphore> {
  static void Encode(const Semaphore& semaphore, Encoder& encoder) {
    semaphore.place_.placed().Encode(encoder, "Semaphore");
  }
  static absl::StatusOr<Semaphore> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto place, internal::SemaphorePlace::Decode(decoder));
    return Semaphore(std::move(place));
  }
};

}  // namespace mp

#endif  // MP_SYNC_SEMAPHORE_H_
