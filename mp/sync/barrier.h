#ifndef MP_SYNC_BARRIER_H_
#define MP_SYNC_BARRIER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/barrier_core.h"
#include "mp/sync/internal/placed.h"

namespace mp {

struct BarrierOptions {
  // How many wait for each other, 1 to 4096. Each costs 8 bytes, and looks at
  // the places of the others.
  uint32_t parties = 1;
};

// The part of a Barrier that processes share: this, and the cells of its
// parties right behind it. Who places one in memory of its own uses
// BarrierStateOf.
//
// Shape: 64 bytes, laid out as in docs/sync_format.md.
struct BarrierState {
  internal::BarrierCoreState core;
};

// All zero is one of `kParties`.
template <uint32_t kParties>
struct BarrierStateOf {
  static_assert(kParties > 0 && kParties <= 4096);

  BarrierState state;
  internal::PartyCell cells[kParties];
};
static_assert(sizeof(BarrierState) == 64 &&
              std::is_standard_layout_v<BarrierStateOf<2>>);

// Where a number of processes wait until all of them are there, again and
// again.
//
// Example:
//   absl::Status Work(mp::Barrier barrier) {
//     for (const Step& step : steps) {
//       Do(step);
//       MP_RETURN_IF_ERROR(barrier.Wait(absl::Minutes(1)).status());
//     }
//   }
//   MP_ASSIGN_OR_RETURN(Barrier barrier, Barrier::Create({.parties = 4}));
//
// If one party cannot go on, the others would wait in vain; so then the barrier
// is broken: every Wait() answers kAborted and why, until Reset().
//
// Shape:   a handle. What is shared are 64 bytes, and 8 for each party, in a
//          slot of an arena, or wherever At() says.
// Units:   an infinite timeout waits. Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any. Each call of Wait() is a party, so threads of one
//          process may be several.
// Fork:    travels to any process, as an argument or in a message.
// Death:   the barrier breaks within 50 ms when a process dies that waits in
//          it; or that was in its last round and has not come to this one. Not
//          if that ends by returning from its function, or by mp::Exit(): then
//          another may come in its place. If all others are there before that
//          is noticed, it is the next round that breaks. One that dies before
//          its first Wait() is nobody the barrier knows of: wait with a
//          timeout.
// Source:  CPython multiprocessing.Barrier. Differs: dead parties are noticed;
//          the action and the timeout are said to each Wait(); a party that
//          timed out is told so, where CPython tells it that the barrier is
//          broken.
class Barrier {
 public:
  using Options = BarrierOptions;
  using Action = absl::FunctionRef<absl::Status()>;

  // An empty handle, of which every use is kFailedPrecondition.
  Barrier() = default;

  // Makes one, in this process's default arena.
  //
  // Errors:
  //   kInvalidArgument    parties is 0 or above 4096.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<Barrier> Create(const Options& options);

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  template <uint32_t kParties>
  static absl::StatusOr<Barrier> At(BarrierStateOf<kParties>* state,
                                    const Arena& arena) {
    return AtBytes(
        state == nullptr ? nullptr : &state->state, arena,
        sizeof(BarrierState) + kParties * sizeof(internal::PartyCell));
  }

  // Waits until all parties do. Returns a number from 0 up to the number of
  // parties, another one for each of them.
  //
  // Errors:
  //   kDeadlineExceeded    not all came in time. The barrier is broken by that;
  //                        not if more wait than there are parties, and this
  //                        one was not one of them.
  //   kAborted             it is broken, or was reset meanwhile.
  //   kResourceExhausted   4096 processes share the arena, or there are no
  //                        descriptors left for this one to become one of them.
  //   kFailedPrecondition  the handle is empty.
  // Source: CPython Barrier.wait(timeout).
  absl::StatusOr<int> Wait(absl::Duration timeout = absl::InfiniteDuration());

  // The same. The last of the parties to come calls the `action` that it has
  // given itself, in its own process and thread, before any of them goes on; the
  // others' are not called. Which is the last is chance: have all of them give
  // one that does the same. If two come at once and one of them has none, the
  // round may end without an action. If it fails, the barrier is broken and
  // Wait() returns its status.
  //
  // Source: CPython Barrier(parties, action).
  absl::StatusOr<int> Wait(Action action,
                           absl::Duration timeout = absl::InfiniteDuration());

  // Breaks it, for those that wait and those that come.
  //
  // Errors:
  //   kFailedPrecondition  the handle is empty.
  absl::Status Abort();

  // Makes it as new, with no party known. Those that wait are told that it is
  // broken.
  //
  // Errors:
  //   kFailedPrecondition  the handle is empty.
  absl::Status Reset();

  bool IsBroken() const { return placed_ && Core().IsBroken(); }

  // How many it takes, and how many of them wait.
  int parties() const { return placed_ ? Core().Parties() : 0; }
  int waiting() const { return placed_ ? Core().Waiting() : 0; }

  // As in "Barrier(2 of 3 waiting)".
  std::string ToString() const;

  // Whether both are handles of the same barrier.
  friend bool operator==(const Barrier&, const Barrier&) = default;

 private:
  friend Serializer<Barrier>;

  explicit Barrier(internal::Placed<BarrierState> placed)
      : placed_(std::move(placed)) {}

  static absl::StatusOr<Barrier> AtBytes(BarrierState* state,
                                         const Arena& arena, size_t size_bytes);
  static absl::StatusOr<Barrier> Check(internal::Placed<BarrierState> placed);
  internal::BarrierCore Core() const;

  internal::Placed<BarrierState> placed_;
};

template <>
struct Serializer<Barrier> {
  static void Encode(const Barrier& barrier, Encoder& encoder) {
    barrier.placed_.Encode(encoder, "Barrier");
  }
  static absl::StatusOr<Barrier> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed,
                        internal::Placed<BarrierState>::Decode(decoder));
    return Barrier::Check(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_BARRIER_H_
