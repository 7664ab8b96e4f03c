#ifndef MP_IPC_INTERNAL_SHARED_END_H_
#define MP_IPC_INTERNAL_SHARED_END_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/frame_turn.h"
#include "mp/ipc/internal/shared_turn.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/sync/internal/placed.h"

namespace mp::internal {

enum class Way { kSend, kReceive };

// What the processes that use a stream share, all zero at first: a turn for
// each way of each end.
//
// Shape: 128 bytes.
struct SharedEndsState {
  struct End {
    SharedTurnState send;
    SharedTurnState receive;
  };
  End ends[2];
};
static_assert(sizeof(SharedEndsState) == 128);

// One end of a stream, as far as processes share it.
//
// Shape:   a value.
// Owns:    a count of a slot in an arena.
// Threads: as a std::shared_ptr.
class SharedEnd {
 public:
  // Both ends of a new stream: each sees what becomes of the other.
  //
  // Errors: those of Arena::Default() and Arena::Allocate().
  static absl::StatusOr<std::pair<SharedEnd, SharedEnd>> CreatePair();

  // One end of a stream of which nothing else is known.
  static absl::StatusOr<SharedEnd> CreateOne();

  SharedTurn TurnOf(Way way) const { return At(side_, way); }

  // The turn at the other end whose holder this end waits for in the middle of
  // a message.
  std::optional<SharedTurn> OtherTurnOf(Way way) const {
    if (!is_pair_) return std::nullopt;
    return At(1 - side_, way == Way::kSend ? Way::kReceive : Way::kSend);
  }

  void Encode(Encoder& encoder) const;
  static absl::StatusOr<SharedEnd> Decode(Decoder& decoder);

 private:
  SharedEnd(Placed<SharedEndsState> placed, int side, bool is_pair)
      : placed_(std::move(placed)), side_(side), is_pair_(is_pair) {}

  SharedTurn At(int side, Way way) const {
    SharedEndsState::End& end = placed_->ends[side];
    return SharedTurn(way == Way::kSend ? end.send : end.receive,
                      placed_.members());
  }

  Placed<SharedEndsState> placed_;
  int side_;
  bool is_pair_;
};

// So many bytes go into a stream all at once or not at all; 0 if none do.
//
// Source: Linux net/unix/af_unix.c, unix_stream_sendmsg(): a piece of up to 32
// KiB and half the buffer is one skb. man 7 pipe, PIPE_BUF.
size_t AtomicBytesOf(int stream);

// What frames of this end ask of it while it has the turn.
class EndTurn : public FrameTurn {
 public:
  EndTurn(const SharedEnd& end, Way way, size_t atomic_bytes)
      : turn_(end.TurnOf(way)),
        other_(end.OtherTurnOf(way)),
        way_(way),
        atomic_bytes_(atomic_bytes) {}

  size_t atomic_bytes() const override { return atomic_bytes_; }
  void Begin() override { turn_.Begin(); }
  void TakeBack() override { turn_.TakeBack(); }
  absl::Status CheckOtherEnd() override;

 private:
  SharedTurn turn_;
  const std::optional<SharedTurn> other_;
  const Way way_;
  const size_t atomic_bytes_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_SHARED_END_H_
