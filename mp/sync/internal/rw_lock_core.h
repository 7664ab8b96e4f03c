#ifndef MP_SYNC_INTERNAL_RW_LOCK_CORE_H_
#define MP_SYNC_INTERNAL_RW_LOCK_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/futex.h"
#include "mp/base/members.h"
#include "mp/sync/internal/lock_word.h"

namespace mp::internal {

// The shared part of a lock for readers and writers, without the cells of its
// readers. All zero is a free one.
//
// Shape: 32 bytes. docs/sync_format.md says what each word is.
struct RwLockCoreState {
  LockWordState writer;
  // 1 while the one that holds `writer` may write: no readers are left.
  std::atomic<uint32_t> is_writing;
  // 1 while it sleeps until they, or enough of them, have left.
  FutexWord drain;
  // How many cells follow. 0 for as many as there is room for.
  uint32_t max_readers;
  uint32_t unused;
};
static_assert(sizeof(RwLockCoreState) == 32);

// What one that reads has: 0, or its MemberId.
using ReaderCell = std::atomic<uint32_t>;

// Many readers, or one writer.
//
// One that wants to write takes the writer's lock, which keeps new readers out,
// and waits until those that are in have left. A reader puts itself into a cell
// and then looks whether the writer's lock is free. If not, it leaves, and puts
// itself into a cell while it holds that lock itself, for a moment: so readers
// queue up with writers, in the same order, and nobody starves.
//
// Owns:    nothing: all that it refers to outlives it.
// Threads: safe from any. The process holds it, not the thread.
// Death:   of a reader: its cell is free. Of a writer before it could write, or
//          after: as if it had not come. Of a writer in between: as of one that
//          holds a LockWord.
class RwLockCore {
 public:
  // `cells` are those that follow `state`: at least 1.
  RwLockCore(RwLockCoreState& state, absl::Span<ReaderCell> cells,
             Members& members)
      : state_(state),
        cells_(cells),
        members_(members),
        writer_(state.writer, members, "RwLock", &state.is_writing) {}

  // Waits as well while there are as many readers as cells.
  //
  // Errors: those of LockWord::Acquire().
  absl::Status AcquireRead(absl::Duration timeout);

  // Errors:
  //   kFailedPrecondition  this process does not read.
  absl::Status ReleaseRead();

  // Errors: those of LockWord::Acquire().
  absl::Status AcquireWrite(absl::Duration timeout);

  // Errors:
  //   kFailedPrecondition  this process does not write.
  absl::Status ReleaseWrite();

  // As of LockWord, for the one that is to write.
  absl::Status AcquireAbandoned();
  absl::Status MarkRepaired() { return writer_.MarkRepaired(); }

  // How many read. Those that died are among them until one wants to write.
  size_t Readers() const;

  // Whether one writes, or waits for readers to leave; or has died in it.
  bool IsTakenByWriter() const { return writer_.IsTaken(); }

  // As in "RwLock(2 readers)".
  std::string ToString() const;

 private:
  absl::Status EnterAsReader(MemberId self, const Deadline& deadline);
  bool ClaimCell(MemberId self);
  bool LeaveCell(MemberId self);
  bool SweepReaders();
  bool AwaitLeaving(absl::FunctionRef<bool()> is_enough,
                    const Deadline& deadline);

  // The i-th cell that one looks at. Neighbours begin in different cache lines.
  ReaderCell& CellOf(MemberId self, uint32_t i) const {
    return cells_[(uint64_t{self} * 17 + i) % cells_.size()];
  }

  RwLockCoreState& state_;
  const absl::Span<ReaderCell> cells_;
  Members& members_;
  LockWord writer_;
};

}  // namespace mp::internal

#endif  // MP_SYNC_INTERNAL_RW_LOCK_CORE_H_
