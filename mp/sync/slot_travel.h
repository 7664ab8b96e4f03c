#ifndef MP_SYNC_SLOT_TRAVEL_H_
#define MP_SYNC_SLOT_TRAVEL_H_

#include "absl/status/statusor.h"
#include "mp/base/arena.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {

// How a handle of shared memory travels, for its Serializer.
//
// Example:
//   static void Encode(const Lock& lock, Encoder& encoder) {
//     EncodeSlot(lock.slot(), encoder);
//   }
//
// All slots of an arena need one descriptor in a message, so that a hundred
// thousand locks are one argument. The sender may drop its handle as soon as it
// has encoded it. A message that nobody reads keeps nothing.
//
// Threads: as the Encoder and Decoder.
// Death:   both processes say by themselves, at the end of one that ends in
//          order, that it is one: Arena::LeaveAll().

// Fails the encoder with the errors of Slot::Ship(), and with
// kFailedPrecondition for an empty slot.
void EncodeSlot(const Slot& slot, Encoder& encoder);

// Errors: those of Slot::Receive(). The bytes may be forged.
absl::StatusOr<Slot> DecodeSlot(Decoder& decoder);

// The receiver attaches to the same arena.
template <>
struct Serializer<Arena> {
  static void Encode(const Arena& arena, Encoder& encoder);
  static absl::StatusOr<Arena> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_SYNC_SLOT_TRAVEL_H_
