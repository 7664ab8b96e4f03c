#include "mp/sync/rw_lock.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace mp {
namespace {

constexpr uint32_t kMostReaders = 4096;

// How many cells there is room for behind a state.
size_t CellsIn(size_t size_bytes) {
  return (size_bytes - sizeof(RwLockState)) / sizeof(internal::ReaderCell);
}

// How many of them count. The number lies in memory that others can write.
size_t CellsOf(const internal::Placed<RwLockState>& placed) {
  const size_t room = CellsIn(placed.size_bytes());
  const size_t wanted = placed->core.max_readers;
  return wanted == 0 ? room : std::min(wanted, room);
}

}  // namespace

absl::StatusOr<RwLock> RwLock::Create(const Options& options) {
  if (options.max_readers == 0 || options.max_readers > kMostReaders) {
    return absl::InvalidArgumentError(
        absl::StrCat("RwLock::Create: max_readers is ", options.max_readers,
                     ", and must be 1 to ", kMostReaders));
  }
  MP_ASSIGN_OR_RETURN(auto placed,
                      internal::Placed<RwLockState>::Create(
                          sizeof(RwLockState) +
                          options.max_readers * sizeof(internal::ReaderCell)));
  placed->core.max_readers = options.max_readers;
  placed->core.writer.on_owner_death = options.on_owner_death;
  return RwLock(std::move(placed));
}

absl::StatusOr<RwLock> RwLock::AtBytes(RwLockState* state, const Arena& arena,
                                       size_t size_bytes) {
  MP_ASSIGN_OR_RETURN(
      auto placed, internal::Placed<RwLockState>::At(state, arena, size_bytes));
  return RwLock(std::move(placed));
}

absl::StatusOr<RwLock> RwLock::Check(internal::Placed<RwLockState> placed) {
  if (CellsIn(placed.size_bytes()) > 0) return RwLock(std::move(placed));
  return absl::DataLossError("a slot without cells where an RwLock should be");
}

internal::RwLockCore RwLock::Core() const {
  // The cells lie behind the state, in the same slot or RwLockStateOf.
  auto* const cells =
      reinterpret_cast<internal::ReaderCell*>(placed_.get() + 1);
  return internal::RwLockCore(placed_->core,
                              absl::MakeSpan(cells, CellsOf(placed_)),
                              placed_.members());
}

absl::Status RwLock::AcquireRead(absl::Duration timeout) {
  if (!placed_) return placed_.Nothing("RwLock::AcquireRead");
  return Core().AcquireRead(timeout);
}

absl::Status RwLock::ReleaseRead() {
  if (!placed_) return placed_.Nothing("RwLock::ReleaseRead");
  return Core().ReleaseRead();
}

absl::Status RwLock::AcquireWrite(absl::Duration timeout) {
  if (!placed_) return placed_.Nothing("RwLock::AcquireWrite");
  return Core().AcquireWrite(timeout);
}

absl::Status RwLock::ReleaseWrite() {
  if (!placed_) return placed_.Nothing("RwLock::ReleaseWrite");
  return Core().ReleaseWrite();
}

absl::Status RwLock::AcquireAbandoned() {
  if (!placed_) return placed_.Nothing("RwLock::AcquireAbandoned");
  return Core().AcquireAbandoned();
}

absl::Status RwLock::MarkRepaired() {
  if (!placed_) return placed_.Nothing("RwLock::MarkRepaired");
  return Core().MarkRepaired();
}

size_t RwLock::readers() const { return placed_ ? Core().Readers() : 0; }

bool RwLock::LockedForWriting() const {
  return placed_ && Core().IsTakenByWriter();
}

bool RwLock::try_lock() {
  const absl::Status taken = AcquireWrite(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

bool RwLock::try_lock_shared() {
  const absl::Status taken = AcquireRead(absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(taken)) return false;
  MP_CHECK_OK(taken);
  return true;
}

std::string RwLock::ToString() const {
  return placed_ ? Core().ToString() : "RwLock(empty)";
}

}  // namespace mp
