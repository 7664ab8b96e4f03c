#include "mp/sync/slot_travel.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/arena.h"
#include "mp/base/arena_transit.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/after_fork.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/finalizer.h"

namespace mp {
namespace {

// ---- The end of this process

// A process of mp's that was forked ends by _exit(), which runs no exit handler
// that it has inherited, so mp/base cannot see it. The last of all finalizers
// can. It is another one in each process.
struct LastWord {
  Finalizer finalizer{[] { Arena::LeaveAll(); }, INT_MIN};
  LastWord* of_parent = nullptr;
};

void SayLastWordAtExit() {
  static std::atomic<pid_t> prepared_in{0};
  const pid_t self = getpid();
  if (prepared_in.exchange(self) == self) return;
  // Not destroyed, as that would run it; and its parent's neither.
  static std::atomic<LastWord*> last_word{nullptr};
  auto* const added = new LastWord;
  added->of_parent = last_word.exchange(added);
}

// A child may use what it has inherited, and never encode or decode any.
[[maybe_unused]] const AfterFork& after_fork =
    *new AfterFork(SayLastWordAtExit);

// ---- Tables of the arenas of a message

struct SentArenas {
  struct Entry {
    Arena arena;
    ArenaTransit transit;
  };

  std::vector<Entry> entries;
};

struct ReceivedArenas {
  struct Entry {
    Arena arena;
    Fd transit;  // open until all slots have been received
  };

  std::vector<Entry> entries;
};

// Returns the place of the slot's arena in the table, which is its end if it is
// not there yet.
size_t PlaceOf(const Slot& slot, const SentArenas& sent) {
  size_t place = 0;
  while (place < sent.entries.size() &&
         sent.entries[place].arena != slot.arena()) {
    ++place;
  }
  return place;
}

absl::Status Begin(const Arena& arena, SentArenas& sent, Encoder& encoder) {
  SayLastWordAtExit();
  MP_ASSIGN_OR_RETURN(ArenaTransit transit, ArenaTransit::Begin(arena));
  encoder.WriteHandle(transit.fd().get());
  sent.entries.push_back({arena, std::move(transit)});
  return absl::OkStatus();
}

absl::Status TryEncode(const Slot& slot, Encoder& encoder) {
  if (slot.data() == nullptr) {
    return absl::FailedPreconditionError(
        "EncodeSlot: a slot that is none does not travel");
  }
  SentArenas& sent = encoder.per_message().Get<SentArenas>();
  const size_t place = PlaceOf(slot, sent);
  encoder.WriteCount(place);
  if (place == sent.entries.size()) {
    MP_RETURN_IF_ERROR(Begin(slot.arena(), sent, encoder));
  }
  MP_RETURN_IF_ERROR(sent.entries[place].transit.Add(slot));
  encoder.WriteCount(slot.offset());
  return absl::OkStatus();
}

absl::Status Accept(ReceivedArenas& received, Decoder& decoder) {
  SayLastWordAtExit();
  MP_ASSIGN_OR_RETURN(Fd transit, decoder.ReadHandle());
  MP_ASSIGN_OR_RETURN(Arena arena, Arena::AttachTransit(transit));
  received.entries.push_back({std::move(arena), std::move(transit)});
  return absl::OkStatus();
}

}  // namespace

void EncodeSlot(const Slot& slot, Encoder& encoder) {
  const absl::Status status = TryEncode(slot, encoder);
  if (!status.ok()) encoder.Fail(status);
}

absl::StatusOr<Slot> DecodeSlot(Decoder& decoder) {
  auto& received = decoder.per_message().Get<ReceivedArenas>();
  MP_ASSIGN_OR_RETURN(const uint64_t place, decoder.ReadNumber());
  if (place > received.entries.size()) {
    return absl::DataLossError(absl::StrCat("DecodeSlot: arena ", place,
                                            " where ", received.entries.size(),
                                            " have come before"));
  }
  if (place == received.entries.size()) {
    MP_RETURN_IF_ERROR(Accept(received, decoder));
  }
  MP_ASSIGN_OR_RETURN(const uint64_t offset, decoder.ReadNumber());
  return Slot::Receive(received.entries[place].arena, offset);
}

void Serializer<Arena>::Encode(const Arena& arena, Encoder& encoder) {
  if (arena == Arena()) {
    return encoder.Fail(absl::FailedPreconditionError(
        "Serializer<Arena>: an arena that is none does not travel"));
  }
  SayLastWordAtExit();
  encoder.WriteHandle(arena.fd());
}

absl::StatusOr<Arena> Serializer<Arena>::Decode(Decoder& decoder) {
  SayLastWordAtExit();
  MP_ASSIGN_OR_RETURN(Fd fd, decoder.ReadHandle());
  return Arena::Attach(std::move(fd));
}

}  // namespace mp
