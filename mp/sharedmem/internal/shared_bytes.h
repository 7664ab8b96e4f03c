#ifndef MP_SHAREDMEM_INTERNAL_SHARED_BYTES_H_
#define MP_SHAREDMEM_INTERNAL_SHARED_BYTES_H_

#include <cstddef>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/arena.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sharedmem/shared_memory.h"

namespace mp {
namespace internal {

// Zeroed memory for one object that processes share: a slot of an arena, or a
// file of its own if it is larger than that.
//
// Shape:   at least as many bytes as asked for, at a multiple of 64.
// Owns:    a count of the memory, which goes with the last handle of any
//          process.
// Threads: as a std::shared_ptr.
class SharedBytes {
 public:
  SharedBytes() = default;

  // Errors:
  //   kInvalidArgument    0 bytes, or more than there can be.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<SharedBytes> Create(size_t bytes);

  char* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

  // What `operation` answers without memory.
  static absl::Status Nothing(absl::string_view operation);

  friend bool operator==(const SharedBytes& a, const SharedBytes& b) {
    return a.data_ == b.data_;
  }

 private:
  friend struct ::mp::Serializer<SharedBytes>;
  explicit SharedBytes(Slot slot);
  explicit SharedBytes(SharedMemory block);

  char* data_ = nullptr;
  size_t size_bytes_ = 0;
  std::variant<std::monostate, Slot, SharedMemory> keep_;
};

}  // namespace internal

template <>
struct Serializer<internal::SharedBytes> {
  static void Encode(const internal::SharedBytes& bytes, Encoder& encoder);
  static absl::StatusOr<internal::SharedBytes> Decode(Decoder& decoder);
};

}  // namespace mp

#endif  // MP_SHAREDMEM_INTERNAL_SHARED_BYTES_H_
