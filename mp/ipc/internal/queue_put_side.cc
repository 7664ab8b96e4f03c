#include "mp/ipc/internal/queue_put_side.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <bitset>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_layout.h"
#include "mp/ipc/internal/queue_memory.h"

namespace mp::internal {
namespace {

// A larger one is made only where there are many bytes in the queue already.
constexpr uint64_t kUsualMaxBytes = uint64_t{64} << 20;

// Up to which size a segment is made for two messages rather than one.
constexpr uint64_t kLargeEntry = uint64_t{16} << 20;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("Queue::Put: its memory is damaged: ", what));
}

}  // namespace

absl::Status QueuePutSide::CheckSize(uint64_t size) const {
  if (max_bytes_ != 0 && size > max_bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("Queue::Put: the message has ", size,
                     " bytes, the queue's max_bytes is ", max_bytes_));
  }
  if (size <= max_message_bytes()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "Queue::Put: the message has ", size,
      " bytes, a message of this queue has at most ", max_message_bytes()));
}

// What is known to be taken is looked up only where that is too little.
absl::Status QueuePutSide::CheckLimits(const PutCursor& cursor, uint64_t size,
                                       bool& fits) {
  const auto is_full = [&] {
    const uint64_t taken = side_.known_taken.load(std::memory_order_relaxed);
    const uint64_t bytes =
        side_.known_taken_bytes.load(std::memory_order_relaxed);
    return (maxsize_ != 0 && cursor.count - taken >= maxsize_) ||
           (max_bytes_ != 0 && cursor.bytes + size - bytes > max_bytes_);
  };
  fits = true;
  if (!is_full()) return absl::OkStatus();
  fits = false;
  const std::optional<GetSnapshot> get = LookAtGetSide();
  if (!get.has_value()) return absl::OkStatus();
  if (get->count > cursor.count || get->bytes > cursor.bytes) {
    return Damaged("more was taken than put");
  }
  side_.known_taken.store(get->count, std::memory_order_relaxed);
  side_.known_taken_bytes.store(get->bytes, std::memory_order_relaxed);
  fits = !is_full();
  return absl::OkStatus();
}

std::optional<GetSnapshot> QueuePutSide::LookAtGetSide() const {
  const GetSideState& get = head_.get;
  for (int i = 0; i < 100; ++i) {
    const SideCount before = {get.count.load(std::memory_order_acquire)};
    const GetState& state = get.states[before.which()];
    const GetSnapshot snapshot = {
        before.count(), state.head.load(std::memory_order_acquire),
        state.bytes.load(std::memory_order_acquire),
        state.segment.load(std::memory_order_acquire)};
    if (get.count.load(std::memory_order_relaxed) == before.word) {
      return snapshot;
    }
    Pause();
  }
  return std::nullopt;
}

void QueuePutSide::LookForFreed(PutCursor& cursor) {
  const std::optional<GetSnapshot> get = LookAtGetSide();
  if (!get.has_value() || get->segment != cursor.segment) return;
  const bool is_sound =
      get->head % kHeaderBytes == 0 &&
      cursor.tail - get->head <= cursor.memory.bytes - kHeaderBytes;
  if (is_sound) cursor.freed = get->head;
}

absl::Status QueuePutSide::Grow(PutCursor& cursor, uint64_t entry_bytes) {
  LookForFreed(cursor);
  if (HasRoom(cursor, entry_bytes)) return absl::OkStatus();

  std::bitset<kMaxSegments> used;
  uint64_t all = 0;
  MP_RETURN_IF_ERROR(FindUsed(cursor.segment, used, all));
  const uint64_t bytes = NextBytes(cursor.memory.bytes, all, entry_bytes);
  if (const std::optional<uint32_t> spare = TakeSpare(used, bytes)) {
    return GoOnIn(cursor, *spare, head_.segments[*spare].bytes.load());
  }
  MP_ASSIGN_OR_RETURN(const uint32_t segment, FindUnused(used, all));
  return GoOnIn(cursor, segment, bytes);
}

// So that there are never more than there can be, one has an eighth of what all
// have, if that is much.
uint64_t QueuePutSide::NextBytes(uint64_t now, uint64_t all,
                                 uint64_t entry_bytes) const {
  const uint64_t messages = entry_bytes <= kLargeEntry ? 2 : 1;
  uint64_t bytes = std::bit_ceil(messages * entry_bytes + kHeaderBytes);
  bytes = std::max(bytes, std::min(2 * now, kUsualMaxBytes));
  bytes = std::max({bytes, std::bit_floor(all / 8), kFirstSegmentBytes});
  return std::min(bytes, memory_.window_bytes());
}

// Which segments are in use, from the last one back to that of the get side, and
// one before whose memory is about to be given back.
absl::Status QueuePutSide::FindUsed(uint32_t last,
                                    std::bitset<kMaxSegments>& used,
                                    uint64_t& bytes) const {
  for (uint32_t segment = last; segment != kNoSegment;) {
    if (segment >= kMaxSegments || used.test(segment)) {
      return Damaged("which segments are in use");
    }
    used.set(segment);
    const SegmentRecord& record = head_.segments[segment];
    bytes += record.bytes.load(std::memory_order_relaxed);
    segment = record.previous.load(std::memory_order_acquire);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> QueuePutSide::FindUnused(
    const std::bitset<kMaxSegments>& used, uint64_t bytes) const {
  for (uint32_t segment = 0; segment < kMaxSegments; ++segment) {
    if (!used.test(segment)) return segment;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("Queue::Put: the queue takes up ", bytes,
                   " bytes, in as many pieces as it can"));
}

// Nothing if there is none of at least `bytes`; a smaller one goes back.
std::optional<uint32_t> QueuePutSide::TakeSpare(
    const std::bitset<kMaxSegments>& used, uint64_t bytes) {
  const uint32_t segment = head_.get.spare.exchange(0) - 1;
  // It may still be about to be left.
  if (segment >= kMaxSegments || used.test(segment)) return std::nullopt;
  const uint64_t has = head_.segments[segment].bytes.load();
  if (has >= bytes && has <= memory_.window_bytes()) return segment;
  memory_.GiveBack(segment);
  return std::nullopt;
}

absl::Status QueuePutSide::GoOnIn(PutCursor& cursor, uint32_t segment,
                                  uint64_t bytes) {
  MP_RETURN_IF_ERROR(memory_.Back(segment, bytes));
  SegmentRecord& record = head_.segments[segment];
  record.bytes.store(bytes, std::memory_order_relaxed);
  record.previous.store(cursor.segment, std::memory_order_release);
  QueueMemory::Segment memory;
  if (absl::Status found = memory_.Find(segment, memory); !found.ok()) {
    memory_.GiveBack(segment);
    return found;
  }
  StoreHeader(cursor.memory.At(cursor.tail), {EntryKind::kLink, 0, segment});
  cursor.segment = segment;
  cursor.memory = memory;
  cursor.tail = 0;
  cursor.freed = 0;
  return absl::OkStatus();
}

absl::Status QueuePutSide::StartSmall() {
  PutCursor cursor;
  MP_RETURN_IF_ERROR(Load(cursor));
  std::bitset<kMaxSegments> used;
  uint64_t all = 0;
  MP_RETURN_IF_ERROR(FindUsed(cursor.segment, used, all));
  TakeSpare(used, ~uint64_t{0});  // which gives it back
  MP_ASSIGN_OR_RETURN(const uint32_t segment, FindUnused(used, all));
  MP_RETURN_IF_ERROR(GoOnIn(cursor, segment, kFirstSegmentBytes));
  Publish(cursor);
  return absl::OkStatus();
}

void QueuePutSide::Sweep() {
  PutCursor cursor;
  std::bitset<kMaxSegments> used;
  uint64_t bytes = 0;
  head_.get.spare.store(0);
  if (!Load(cursor).ok() || !FindUsed(cursor.segment, used, bytes).ok()) return;
  for (uint32_t segment = 0; segment < kMaxSegments; ++segment) {
    if (!used.test(segment)) memory_.GiveBack(segment);
  }
}

}  // namespace mp::internal
