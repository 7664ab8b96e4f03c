#include "mp/sync/internal/rw_lock_core.h"

#include <algorithm>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"

namespace mp::internal {
namespace {

// How long a writer sleeps before it looks which readers live: the first time,
// and later.
constexpr absl::Duration kFirstSlice = absl::Milliseconds(2);
constexpr absl::Duration kSlice = absl::Milliseconds(50);

}  // namespace

// A process between the store to its cell and the load of the writer's word,
// and a writer between the store to that and the loads of all cells, cannot
// both miss the other: all four are sequentially consistent.
absl::Status RwLockCore::AcquireRead(absl::Duration timeout) {
  MP_ASSIGN_OR_RETURN(const MemberId self, members_.Self());
  if (ClaimCell(self)) {
    if (!writer_.IsTaken()) return absl::OkStatus();
    LeaveCell(self);
  }
  const Deadline deadline(timeout);
  MP_RETURN_IF_ERROR(writer_.Acquire(timeout));
  const absl::Status entered = EnterAsReader(self, deadline);
  MP_RETURN_IF_ERROR(writer_.Release());
  return entered;
}

// While this process holds the writer's lock, so that those that come do not
// take the place of one that leaves.
absl::Status RwLockCore::EnterAsReader(MemberId self,
                                       const Deadline& deadline) {
  state_.is_writing.store(0);  // a dead writer's, if that is ignored
  if (ClaimCell(self)) return absl::OkStatus();
  const auto has_entered = [&] {
    SweepReaders();
    return ClaimCell(self);
  };
  if (AwaitLeaving(has_entered, deadline)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("RwLock::AcquireRead: there were as many readers as may be "
                   "until the deadline; max_readers is ",
                   cells_.size()));
}

absl::Status RwLockCore::ReleaseRead() {
  const MemberId self = members_.self();
  if (self != kNobody && LeaveCell(self)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(ToString(), "::ReleaseRead: this process does not read"));
}

absl::Status RwLockCore::AcquireWrite(absl::Duration timeout) {
  const Deadline deadline(timeout);
  MP_RETURN_IF_ERROR(writer_.Acquire(timeout));
  state_.is_writing.store(0);  // a dead writer's, if that is ignored
  if (!AwaitLeaving([&] { return !SweepReaders(); }, deadline)) {
    const absl::Status status = absl::DeadlineExceededError(absl::StrCat(
        ToString(), "::AcquireWrite: not left before the deadline"));
    MP_RETURN_IF_ERROR(writer_.Release());
    return status;
  }
  state_.is_writing.store(1);
  return absl::OkStatus();
}

absl::Status RwLockCore::ReleaseWrite() {
  if (!writer_.IsOwn() || state_.is_writing.load() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        ToString(), "::ReleaseWrite: this process does not write"));
  }
  state_.is_writing.store(0);
  return writer_.Release();
}

absl::Status RwLockCore::AcquireAbandoned() {
  MP_RETURN_IF_ERROR(writer_.AcquireAbandoned());
  state_.is_writing.store(1);
  return absl::OkStatus();
}

bool RwLockCore::ClaimCell(MemberId self) {
  for (uint32_t i = 0; i < cells_.size(); ++i) {
    uint32_t free = 0;
    ReaderCell& cell = CellOf(self, i);
    if (cell.load(std::memory_order_relaxed) == free &&
        cell.compare_exchange_strong(free, self)) {
      return true;
    }
  }
  return false;
}

bool RwLockCore::LeaveCell(MemberId self) {
  for (uint32_t i = 0; i < cells_.size(); ++i) {
    uint32_t own = self;
    ReaderCell& cell = CellOf(self, i);
    if (cell.load(std::memory_order_relaxed) != own ||
        !cell.compare_exchange_strong(own, 0)) {
      continue;
    }
    if (state_.drain.load() != 0 && state_.drain.exchange(0) != 0) {
      FutexWake(state_.drain, 1);
    }
    return true;
  }
  return false;
}

// Takes the dead out of their cells. Returns whether any reader is left.
bool RwLockCore::SweepReaders() {
  bool is_any_left = false;
  for (ReaderCell& cell : cells_) {
    uint32_t reader = cell.load();
    if (reader == kNobody) continue;
    if (!members_.IsGone(reader)) {
      is_any_left = true;
    } else {
      cell.compare_exchange_strong(reader, kNobody);
    }
  }
  return is_any_left;
}

// For the holder of the writer's lock. Returns false at the deadline.
bool RwLockCore::AwaitLeaving(absl::FunctionRef<bool()> is_enough,
                              const Deadline& deadline) {
  absl::Duration slice = kFirstSlice;
  bool is_done = false;
  while (true) {
    state_.drain.store(1);
    is_done = is_enough();
    if (is_done || deadline.Expired()) break;
    FutexWait(state_.drain, 1, Deadline(std::min(slice, deadline.Remaining())));
    slice = kSlice;
  }
  state_.drain.store(0);
  return is_done;
}

size_t RwLockCore::Readers() const {
  return cells_.size() -
         std::count_if(cells_.begin(), cells_.end(),
                       [](const ReaderCell& cell) { return cell == kNobody; });
}

std::string RwLockCore::ToString() const {
  if (writer_.IsTaken()) return writer_.ToString();
  const size_t readers = Readers();
  if (readers == 0) return "RwLock(free)";
  return absl::StrCat("RwLock(", readers,
                      readers == 1 ? " reader)" : " readers)");
}

}  // namespace mp::internal
