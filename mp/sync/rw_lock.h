#ifndef MP_SYNC_RW_LOCK_H_
#define MP_SYNC_RW_LOCK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/arena.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sync/internal/guard.h"
#include "mp/sync/internal/lock_word.h"
#include "mp/sync/internal/placed.h"
#include "mp/sync/internal/rw_lock_core.h"

namespace mp {

struct RwLockOptions {
  // How many may read at a time, 1 to 4096; others wait. Each costs 4 bytes,
  // and a writer looks at all of them.
  uint32_t max_readers = 256;

  // What becomes of it when a process ends while it writes; see LockOptions.
  OnOwnerDeath on_owner_death = OnOwnerDeath::kReport;
};

// The part of an RwLock that processes share: this, and the cells of its
// readers right behind it. Who places one in memory of its own uses
// RwLockStateOf.
//
// Shape: 32 bytes, laid out as in docs/sync_format.md.
struct RwLockState {
  internal::RwLockCoreState core;
};

// All zero is a free one for up to `kMaxReaders` readers at a time.
template <uint32_t kMaxReaders = 256>
struct RwLockStateOf {
  static_assert(kMaxReaders > 0 && kMaxReaders <= 4096);

  // For one who makes it, before others see it; zero has the default.
  void SetOnOwnerDeath(OnOwnerDeath on_owner_death) {
    state.core.writer.on_owner_death = on_owner_death;
  }

  RwLockState state;
  internal::ReaderCell cells[kMaxReaders];
};
static_assert(sizeof(RwLockState) == 32 &&
              sizeof(RwLockStateOf<2>) == sizeof(RwLockState) + 8 &&
              std::is_standard_layout_v<RwLockStateOf<2>>);

// A lock between processes for many readers, or one writer.
//
// Example:
//   MP_ASSIGN_OR_RETURN(RwLock lock, RwLock::Create());
//   {
//     MP_ASSIGN_OR_RETURN(ReadGuard guard, ReadGuard::Take(lock));
//     ...  // as others may at the same time
//   }
//   MP_ASSIGN_OR_RETURN(WriteGuard guard, WriteGuard::Take(lock, timeout));
//
// One that wants to write keeps later readers out; one that waits takes its
// turn among both. So it is neither recursive nor to be upgraded: a process
// that reads, and then wants to write, waits for itself.
//
// Shape:   a handle. What is shared are 32 bytes, and 4 for each reader, in a
//          slot of an arena, or wherever At() says.
// Units:   an infinite timeout waits, a zero or negative one only tries.
//          Signals do not end a wait.
// Owns:    a count of the slot, which goes with the last handle of any process.
// Threads: safe from any. The process holds it: another thread may release it.
// Fork:    travels to any process, as an argument or in a message. A forked
//          child neither reads nor writes because its parent does.
// Death:   a reader that ends is gone, within 50 ms. The end of one that writes
//          is answered as by a Lock, to readers too, and the way out is the
//          same. One that ends while it waits has changed nothing.
// Source:  POSIX pthread_rwlock_t, of which this is the robust form that there
//          is not; CPython has none.
class RwLock {
 public:
  using Options = RwLockOptions;

  // An empty handle, of which every use is kFailedPrecondition.
  RwLock() = default;

  // Makes a free one, in this process's default arena.
  //
  // Errors:
  //   kInvalidArgument    max_readers is 0 or above 4096.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<RwLock> Create(const Options& options = {});

  // One in memory that the program itself shares; see Lock::At().
  //
  // Errors:
  //   kInvalidArgument  `state` is null, or not aligned.
  template <uint32_t kMaxReaders>
  static absl::StatusOr<RwLock> At(RwLockStateOf<kMaxReaders>* state,
                                   const Arena& arena) {
    return AtBytes(state == nullptr ? nullptr : &state->state, arena,
                   sizeof(*state));
  }

  // Waits until no process writes, or waits for it, and there are less than
  // max_readers readers.
  //
  // Errors:
  //   kDeadlineExceeded    not in time; the message says for which of the two.
  //   kAborted             a process ended while it wrote.
  //   kResourceExhausted   as of Lock.
  absl::Status AcquireRead(absl::Duration timeout = absl::InfiniteDuration());

  // Ends one AcquireRead() of this process.
  //
  // Errors:
  //   kFailedPrecondition  it does not read.
  absl::Status ReleaseRead();

  // Waits until no process reads or writes.
  //
  // Errors:
  //   kDeadlineExceeded    not in time.
  //   kAborted             a process ended while it wrote.
  //   kResourceExhausted   as of Lock.
  absl::Status AcquireWrite(absl::Duration timeout = absl::InfiniteDuration());

  // Errors:
  //   kFailedPrecondition  this process does not write.
  absl::Status ReleaseWrite();

  // Takes it, to write, after the death of one that wrote; see
  // Lock::AcquireAbandoned().
  //
  // Errors:
  //   kFailedPrecondition  it is not abandoned, or another has taken it so.
  absl::Status AcquireAbandoned();

  // See Lock::MarkRepaired().
  //
  // Errors:
  //   kFailedPrecondition  this process has not got it by AcquireAbandoned().
  absl::Status MarkRepaired();

  // How many readers there are; who died is among them until one writes.
  size_t readers() const;

  // Whether one writes or waits for readers to leave, or died as it wrote.
  bool LockedForWriting() const;

  // As in "RwLock(2 readers)".
  std::string ToString() const;

  // As std::shared_mutex; see Lock::lock().
  void lock() { MP_CHECK_OK(AcquireWrite()); }
  void unlock() { MP_CHECK_OK(ReleaseWrite()); }
  bool try_lock();
  void lock_shared() { MP_CHECK_OK(AcquireRead()); }
  void unlock_shared() { MP_CHECK_OK(ReleaseRead()); }
  bool try_lock_shared();

  // Whether both are handles of the same lock.
  friend bool operator==(const RwLock&, const RwLock&) = default;

 private:
  friend Serializer<RwLock>;

  explicit RwLock(internal::Placed<RwLockState> placed)
      : placed_(std::move(placed)) {}

  static absl::StatusOr<RwLock> AtBytes(RwLockState* state, const Arena& arena,
                                        size_t size_bytes);
  static absl::StatusOr<RwLock> Check(internal::Placed<RwLockState> placed);
  internal::RwLockCore Core() const;

  internal::Placed<RwLockState> placed_;
};

// Reads, or writes, for a scope: ReadGuard::Take(lock, timeout).
using ReadGuard =
    internal::Guard<RwLock, &RwLock::AcquireRead, &RwLock::ReleaseRead>;
using WriteGuard =
    internal::Guard<RwLock, &RwLock::AcquireWrite, &RwLock::ReleaseWrite>;

template <>
struct Serializer<RwLock> {
  static void Encode(const RwLock& lock, Encoder& encoder) {
    lock.placed_.Encode(encoder, "RwLock");
  }
  static absl::StatusOr<RwLock> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto placed,
                        internal::Placed<RwLockState>::Decode(decoder));
    return RwLock::Check(std::move(placed));
  }
};

}  // namespace mp

#endif  // MP_SYNC_RW_LOCK_H_
