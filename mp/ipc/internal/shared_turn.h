#ifndef MP_IPC_INTERNAL_SHARED_TURN_H_
#define MP_IPC_INTERNAL_SHARED_TURN_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "mp/base/deadline.h"
#include "mp/base/members.h"
#include "mp/sync/internal/lock_word.h"

namespace mp::internal {

// The part of a SharedTurn that processes share. All zero is a free one.
//
// Shape: 32 bytes.
struct SharedTurnState {
  LockWordState lock;
  std::atomic<uint32_t> busy;  // 1 while a message may be half done
  uint32_t unused;
  // Why nothing can be done any more, above the pid of who did it; 0 if all is
  // well.
  std::atomic<uint64_t> cut;
};
static_assert(sizeof(SharedTurnState) == 32);

// Lets processes take turns at one direction of one end of a stream, and tells
// them when one of them has ended in the middle of a message.
//
// Example:
//   MP_RETURN_IF_ERROR(turn.Take(deadline));
//   turn.Begin();   // from here on a death cuts the stream
//   ...
//   turn.Release();
//
// Owns:    nothing: `state` and `members` outlive it.
// Threads: the process has the turn; threads take turns by a Turn before.
// Death:   as LockWord. Whoever comes next has the turn all the same; cut()
//          says whether there is anything left to do with it.
class SharedTurn {
 public:
  enum class Cause : uint32_t {
    kNone,
    kDied,    // it ended in the middle of a message
    kGaveUp,  // its time ran out there, or it closed its end
  };

  struct Cut {
    Cause cause = Cause::kNone;
    pid_t pid = 0;
  };

  SharedTurn(SharedTurnState& state, Members& members)
      : state_(state), word_(state.lock, members, "turn"), members_(members) {}

  // Waits for the turn.
  //
  // Errors:
  //   kDeadlineExceeded  another process had it all the time.
  //   and those of Members::Self().
  absl::Status Take(const Deadline& deadline);

  // Gives it back. What was begun is done.
  void Release() {
    state_.busy.store(0, std::memory_order_relaxed);
    word_.Release().IgnoreError();
  }

  // Whether this process has it.
  bool IsOwn() const { return word_.IsOwn(); }

  // From now to Release() or TakeBack(), the end of this process cuts the
  // stream.
  void Begin() { state_.busy.store(1, std::memory_order_release); }

  // Nothing is half done after all.
  void TakeBack() { state_.busy.store(0, std::memory_order_release); }

  // Says that the stream is of no more use. Only the first cause counts.
  void MarkCut(Cause cause, pid_t pid);

  // What became of the stream.
  Cut cut() const;

  // The same, and whether the process that has the turn has ended since it
  // began; does not wait.
  Cut Look() const;

 private:
  SharedTurnState& state_;
  LockWord word_;
  Members& members_;
};

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_SHARED_TURN_H_
