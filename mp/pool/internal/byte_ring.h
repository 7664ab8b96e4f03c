#ifndef MP_POOL_INTERNAL_BYTE_RING_H_
#define MP_POOL_INTERNAL_BYTE_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mp::internal {

// How far the two ends of a ring have come, in bytes since its beginning. All
// zero is an empty ring. Each field but the last has one writer.
struct RingEnds {
  alignas(64) std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> taken;
  // The writer waits until half of the ring is free.
  alignas(64) std::atomic<uint32_t> wants_room;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

namespace ring_format {

// A record is its length and its bytes, filled up to a multiple of a length.
using Length = uint64_t;

constexpr uint64_t SizeOf(size_t bytes) {
  return sizeof(Length) +
         (bytes + sizeof(Length) - 1) / sizeof(Length) * sizeof(Length);
}

}  // namespace ring_format

// The end of a ring of records where they are put in. One process or thread has
// this end, another one the RingReader; they share nothing but `ends` and
// `bytes`, and neither believes the other.
//
// Shape:   `bytes` is a power of two of them, the same for both ends. A record
//          of up to a quarter of it always finds room in the end.
// Threads: one at a time.
// Death:   one store publishes a record, so that there is no half of one. What
//          is published can be read when the writer is dead.
class RingWriter {
 public:
  RingWriter(RingEnds& ends, absl::Span<char> bytes)
      : ends_(ends), bytes_(bytes) {}

  // Publishes a record of two parts, one after the other. False if there is no
  // room for it now.
  bool Push(absl::string_view head, absl::string_view body);

  // Whether there is room for a record of so many bytes.
  bool HasRoomFor(size_t bytes);

  // Has the reader's TakeWantsRoom() be true once, when half is free. Whoever
  // calls this looks at HasRoomFor() afterwards.
  void WantRoom() { ends_.wants_room.store(1); }

  // The reader's end is where it cannot be; there is no room any more.
  bool damaged() const { return damaged_; }

 private:
  void Copy(absl::string_view bytes);

  RingEnds& ends_;
  const absl::Span<char> bytes_;
  uint64_t written_ = 0;
  uint64_t at_ = 0;     // of the record that is being written
  uint64_t taken_ = 0;  // or more by now
  bool damaged_ = false;
};

// The end where records are taken out.
//
// Example:
//   while (const std::optional<size_t> size = reader.Next()) {
//     record.resize(*size);
//     reader.Read(record.data(), record.size());
//     reader.Finish();
//   }
class RingReader {
 public:
  RingReader(RingEnds& ends, absl::Span<const char> bytes)
      : ends_(ends), bytes_(bytes) {}

  // The number of bytes of the oldest record; nullopt if there is none. What
  // the ring says is believed once: bytes that change after that are other
  // bytes, no others' bytes.
  std::optional<size_t> Next();

  // Copies the next so many bytes of that record, or zeros beyond its end.
  void Read(void* into, size_t size);

  // Gives the record's room back.
  void Finish();

  // Whether the writer is to be told that there is room now.
  bool TakeWantsRoom();

  // Whether there is nothing to read. Ordered after a store of the caller's.
  bool IsEmpty() const { return ends_.written.load() == taken_; }

  // What is in the ring is no records; nothing can be read any more.
  bool damaged() const { return damaged_; }

 private:
  std::optional<size_t> Damaged();
  void CopyFrom(uint64_t at, void* into, size_t size) const;

  RingEnds& ends_;
  const absl::Span<const char> bytes_;
  uint64_t taken_ = 0;
  uint64_t written_ = 0;  // or more by now
  uint64_t at_ = 0;       // within the record
  uint64_t left_ = 0;     // of the record
  uint64_t end_ = 0;      // of the record, with its filling
  bool damaged_ = false;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_BYTE_RING_H_
