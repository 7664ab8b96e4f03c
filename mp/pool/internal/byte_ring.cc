#include "mp/pool/internal/byte_ring.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/strings/string_view.h"

namespace mp::internal {

using ring_format::Length;
using ring_format::SizeOf;

bool RingWriter::Push(absl::string_view head, absl::string_view body) {
  const Length length = head.size() + body.size();
  if (!HasRoomFor(length)) return false;
  at_ = written_;
  Copy({reinterpret_cast<const char*>(&length), sizeof(length)});
  Copy(head);
  Copy(body);
  written_ += SizeOf(length);
  // Before the caller looks whether the reader sleeps.
  ends_.written.store(written_, std::memory_order_seq_cst);
  return true;
}

bool RingWriter::HasRoomFor(size_t bytes) {
  if (damaged_ || bytes > bytes_.size()) return false;
  const uint64_t size = SizeOf(bytes);
  if (written_ - taken_ + size <= bytes_.size()) return true;
  const uint64_t taken = ends_.taken.load(std::memory_order_seq_cst);
  // It only goes on, and not beyond what there is.
  if (taken - taken_ > written_ - taken_) {
    damaged_ = true;
    return false;
  }
  taken_ = taken;
  return written_ - taken_ + size <= bytes_.size();
}

void RingWriter::Copy(absl::string_view bytes) {
  const size_t at = at_ & (bytes_.size() - 1);
  const size_t first = std::min(bytes.size(), bytes_.size() - at);
  if (first > 0) std::memcpy(bytes_.data() + at, bytes.data(), first);
  if (first < bytes.size()) {
    std::memcpy(bytes_.data(), bytes.data() + first, bytes.size() - first);
  }
  at_ += bytes.size();
}

std::optional<size_t> RingReader::Next() {
  if (damaged_) return std::nullopt;
  if (written_ == taken_) {
    written_ = ends_.written.load(std::memory_order_acquire);
    if (written_ == taken_) return std::nullopt;
    if (written_ - taken_ > bytes_.size()) return Damaged();
  }
  const uint64_t there = written_ - taken_;
  if (there < sizeof(Length)) return Damaged();
  Length length;
  CopyFrom(taken_, &length, sizeof(length));
  if (length > there || SizeOf(length) > there) return Damaged();
  at_ = taken_ + sizeof(length);
  left_ = length;
  end_ = taken_ + SizeOf(length);
  return length;
}

void RingReader::Read(void* into, size_t size) {
  const size_t there = std::min<uint64_t>(size, left_);
  CopyFrom(at_, into, there);
  std::memset(static_cast<char*>(into) + there, 0, size - there);
  at_ += there;
  left_ -= there;
}

void RingReader::Finish() {
  taken_ = end_;
  left_ = 0;
  // Before the caller looks whether the writer waits.
  ends_.taken.store(taken_, std::memory_order_seq_cst);
}

bool RingReader::TakeWantsRoom() {
  if (ends_.wants_room.load(std::memory_order_seq_cst) == 0) return false;
  const uint64_t used = ends_.written.load(std::memory_order_relaxed) - taken_;
  if (used > bytes_.size() / 2) return false;
  return ends_.wants_room.exchange(0) != 0;
}

std::optional<size_t> RingReader::Damaged() {
  damaged_ = true;
  return std::nullopt;
}

void RingReader::CopyFrom(uint64_t at, void* into, size_t size) const {
  const size_t from = at & (bytes_.size() - 1);
  const size_t first = std::min<size_t>(size, bytes_.size() - from);
  if (first > 0) std::memcpy(into, bytes_.data() + from, first);
  if (first < size) {
    std::memcpy(static_cast<char*>(into) + first, bytes_.data(), size - first);
  }
}

}  // namespace mp::internal
