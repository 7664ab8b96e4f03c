#ifndef MP_SYNC_BOUNDED_SEMAPHORE_H_
#define MP_SYNC_BOUNDED_SEMAPHORE_H_

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

struct BoundedSemaphoreOptions {
  // How many units there are, 0 to 16,000. Each costs 4 bytes.
  uint32_t value = 1;
};

// A fixed number of units, which processes hold and give back.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto places, BoundedSemaphore::Create({.value = 3}));
//   MP_ASSIGN_OR_RETURN(auto guard, BoundedSemaphoreGuard::Take(places));
//
// Not fair: whoever comes first gets a unit.
//
// Shape:   a handle. What is shared are 32 bytes, and 4 for each unit, in a
//          slot of an arena, or wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only tries.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any. The process holds units: another thread may release.
// Fork:    travels to any process, as an argument or in a message. A child that
//          is forked by the program itself holds none of its parent's units.
// Death:   what a process held comes back when it ends, within 50 ms for those
//          that wait. A stopped one is not dead. One that is killed inside a
//          call has done it or not.
// Source:  CPython multiprocessing.BoundedSemaphore. Differs: deadlines are on
//          the monotonic clock; the dead give back; that there are never too
//          many units holds with several that release at once, too.
class BoundedSemaphore {
 public:
  using Options = BoundedSemaphoreOptions;

  // An empty handle, of which every use is kFailedPrecondition.
  BoundedSemaphore() = default;

  // Makes one, in this process's default arena.
  //
  // Errors:
  //   kInvalidArgument    the value is too large.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<BoundedSemaphore> Create(const Options& options = {});

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  template <uint32_t kUnits>
  static absl::StatusOr<BoundedSemaphore> At(SemaphoreStateOf<kUnits>* state,
                                             const Arena& arena) {
    MP_ASSIGN_OR_RETURN(auto place, internal::SemaphorePlace::At(state, arena));
    return BoundedSemaphore(std::move(place));
  }

  // Waits for a unit and takes it.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kResourceExhausted   4096 processes share the arena, or there are no
  //                        descriptors left for this one to become one of them.
  //   kFailedPrecondition  the handle is empty.
  // Source: CPython BoundedSemaphore.acquire(block, timeout).
  absl::Status Acquire(absl::Duration timeout = absl::InfiniteDuration()) {
    if (!place_) return Nothing("BoundedSemaphore::Acquire");
    return Core().Acquire(timeout);
  }

  // Gives a unit back: one of this process's, or else of any.
  //
  // Errors:
  //   kFailedPrecondition  all units are there; or the handle is empty.
  // Source: CPython BoundedSemaphore.release(), which raises ValueError.
  absl::Status Release() {
    if (!place_) return Nothing("BoundedSemaphore::Release");
    return Core().Release();
  }

  // How many units are free. Others may change that meanwhile.
  uint32_t value() const { return place_ ? Core().Value() : 0; }

  // How many there are.
  uint32_t max_value() const {
    return place_ ? static_cast<uint32_t>(place_.Cells()) : 0;
  }

  // Whether none is free.
  bool Locked() const { return place_ && Core().Value() == 0; }

  // As in "BoundedSemaphore(value 2 of 3)".
  std::string ToString() const;

  // As std::mutex; see Lock::lock().
  void lock() { MP_CHECK_OK(Acquire()); }
  void unlock() { MP_CHECK_OK(Release()); }
  bool try_lock();

  // Whether both are handles of the same semaphore.
  friend bool operator==(const BoundedSemaphore&,
                         const BoundedSemaphore&) = default;

 private:
  friend Serializer<BoundedSemaphore>;

  explicit BoundedSemaphore(internal::SemaphorePlace place)
      : place_(std::move(place)) {}

  absl::Status Nothing(absl::string_view operation) const {
    return place_.placed().Nothing(operation);
  }
  internal::SemaphoreCore Core() const {
    return place_.Core(internal::SemaphoreCore::Kind::kBounded);
  }

  internal::SemaphorePlace place_;
};

// Holds a unit for a scope: BoundedSemaphoreGuard::Take(semaphore, timeout).
using BoundedSemaphoreGuard = internal::Guard<BoundedSemaphore>;

template <>
struct Serializer<BoundedSemaphore> {
  static void Encode(const BoundedSemaphore& semaphore, Encoder& encoder) {
    semaphore.place_.placed().Encode(encoder, "BoundedSemaphore");
  }
  static absl::StatusOr<BoundedSemaphore> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto place, internal::SemaphorePlace::Decode(decoder));
    return BoundedSemaphore(std::move(place));
  }
};

}  // namespace mp

#endif  // MP_SYNC_BOUNDED_SEMAPHORE_H_
