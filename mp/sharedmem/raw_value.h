#ifndef MP_SHAREDMEM_RAW_VALUE_H_
#define MP_SHAREDMEM_RAW_VALUE_H_

#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sharedmem/internal/shareable_type.h"
#include "mp/sharedmem/internal/shared_bytes.h"

namespace mp {

// A T that several processes have at once, without a lock.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto ticks,
//                       RawValue<std::atomic<int>>::Create());
//   mp::Process p(Tick, ticks);
//   ... ++*ticks;
//
// Shape:   a T that means the same in every process: trivially copyable, or of
//          trivial destruction and without pointers, as std::atomic. Zeroed,
//          then made from what Create() is given.
// Owns:    a handle: copies show the same T, which goes with the last of any
//          process.
// Threads: as a T, so a race unless T is an atomic; see Value.
// Fork:    travels to any process, as an argument or in a message.
// Source:  CPython multiprocessing.RawValue().
template <typename T>
class RawValue {
 public:
  static_assert(internal::CheckShareable<T>());

  // An empty handle.
  RawValue() = default;

  // Errors:
  //   kResourceExhausted  no memory or descriptors left.
  template <typename... Args>
  static absl::StatusOr<RawValue> Create(Args&&... args) {
    MP_ASSIGN_OR_RETURN(internal::SharedBytes bytes,
                        internal::SharedBytes::Create(sizeof(T)));
    if constexpr (std::is_constructible_v<T, Args&&...>) {
      new (bytes.data()) T(std::forward<Args>(args)...);
    } else {
      new (bytes.data()) T{std::forward<Args>(args)...};
    }
    return RawValue(std::move(bytes));
  }

  // The T itself; null in an empty handle.
  T* get() const { return reinterpret_cast<T*>(bytes_.data()); }
  T& operator*() const { return *get(); }
  T* operator->() const { return get(); }
  explicit operator bool() const { return get() != nullptr; }

  // Makes another one with the same contents.
  //
  // Errors: those of Create(), and kFailedPrecondition for an empty handle.
  // Source: CPython multiprocessing.sharedctypes.copy().
  absl::StatusOr<RawValue> Copy() const {
    if (get() == nullptr) return internal::SharedBytes::Nothing("RawValue");
    return Create(T(*get()));
  }

  friend bool operator==(const RawValue&, const RawValue&) = default;

 private:
  friend struct Serializer<RawValue>;
  explicit RawValue(internal::SharedBytes bytes) : bytes_(std::move(bytes)) {}

  internal::SharedBytes bytes_;
};

template <typename T>
struct Serializer<RawValue<T>> {
  static void Encode(const RawValue<T>& value, Encoder& encoder) {
    encoder.Write(value.bytes_);
  }
  static absl::StatusOr<RawValue<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(internal::SharedBytes bytes,
                        decoder.Read<internal::SharedBytes>());
    if (bytes.size_bytes() >= sizeof(T)) return RawValue<T>(std::move(bytes));
    return absl::DataLossError(
        absl::StrCat("RawValue: shared memory of ", bytes.size_bytes(),
                     " bytes for a value of ", sizeof(T)));
  }
};

}  // namespace mp

#endif  // MP_SHAREDMEM_RAW_VALUE_H_
