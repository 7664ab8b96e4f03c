#ifndef MP_SYNC_EVENT_H_
#define MP_SYNC_EVENT_H_

#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/event_core.h"
#include "mp/sync/internal/placed.h"

namespace mp {

// The part of an Event that processes share. All zero is one that is not set.
//
// Shape: 4 bytes, laid out as in docs/sync_format.md.
struct EventState {
  internal::EventCoreState core;
};
static_assert(sizeof(EventState) == 4 && std::is_standard_layout_v<EventState>);

// A flag that one process sets and others wait for.
//
// Example:
//   absl::Status Serve(mp::Event ready) {
//     ...
//     return ready.Set();
//   }
//   MP_ASSIGN_OR_RETURN(mp::Event ready, mp::Event::Create());
//   mp::Process server(Serve, ready);
//   MP_RETURN_IF_ERROR(server.Start());
//   MP_RETURN_IF_ERROR(ready.Wait(absl::Seconds(10)));
//
// What a process wrote before Set() is there for one that saw the flag set.
//
// Shape:   a handle. What is shared are 4 bytes in a slot of an arena, or
//          wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only looks.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any.
// Fork:    travels to any process, as an argument or in a message.
// Death:   an event does not know who will set it: wait with a timeout, or for
//          the process as well. One that is killed inside Set() has set it or
//          not; if it has, those that wait are awake within 50 ms.
// Source:  CPython multiprocessing.Event. Differs: Wait() does not miss a Set()
//          that a Clear() follows at once.
class Event {
 public:
  // An empty handle, of which every use is kFailedPrecondition.
  Event() = default;

  // Makes one that is not set, in this process's default arena.
  //
  // Errors:
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<Event> Create();

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  static absl::StatusOr<Event> At(EventState* state, const Arena& arena);

  // Sets it and wakes all that wait. Nothing if it is set already.
  //
  // Errors:
  //   kFailedPrecondition  the handle is empty.
  absl::Status Set();

  // Errors:
  //   kFailedPrecondition  the handle is empty.
  absl::Status Clear();

  // Waits until it is set.
  //
  // Errors:
  //   kDeadlineExceeded    it was not, in time.
  //   kFailedPrecondition  the handle is empty.
  // Source: CPython Event.wait(timeout), which answers false.
  absl::Status Wait(absl::Duration timeout = absl::InfiniteDuration()) const;

  // Whether it is set: one load.
  bool IsSet() const { return placed_ && Core().IsSet(); }

  // "Event(set)" or "Event(not set)".
  std::string ToString() const;

  // Whether both are handles of the same event.
  friend bool operator==(const Event&, const Event&) = default;

 private:
  friend Serializer<Event>;

  explicit Event(internal::Placed<EventState> placed)
      : placed_(std::move(placed)) {}
  internal::EventCore Core() const {
    return internal::EventCore(placed_->core);
  }

  internal::Placed<EventState> placed_;
};

template <>
struct Serializer<Event> {
  static void Encode(const Event& event, Encoder& encoder) {
    event.placed_.Encode(encoder, "Event");
  }
  static absl::StatusOr<Event> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed,
                        internal::Placed<EventState>::Decode(decoder));
    return Event(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_EVENT_H_
