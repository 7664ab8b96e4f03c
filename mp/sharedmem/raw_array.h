#ifndef MP_SHAREDMEM_RAW_ARRAY_H_
#define MP_SHAREDMEM_RAW_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sharedmem/internal/shareable_type.h"
#include "mp/sharedmem/internal/shared_bytes.h"

namespace mp {

// An array that several processes have at once, without a lock.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto squares, RawArray<int>::Create(100));  // zeros
//   mp::Process p(FillSquares, squares);
//   ...
//   for (int square : squares.span()) Print(square);
//
// Shape:   a fixed number of Ts, trivially copyable and without pointers or
//          views. One that does not fit into a slot of an arena has a file of
//          its own in memory.
// Owns:    a handle: copies show the same array, which goes with the last of
//          any process.
// Threads: as an array of T; see Array.
// Fork:    travels to any process, as an argument or in a message.
// Source:  CPython multiprocessing.RawArray().
template <typename T>
class RawArray {
 public:
  static_assert(internal::CheckShareable<T>());
  static_assert(std::is_trivially_copyable_v<T>,
                "mp: elements are shared byte by byte, so they have to be "
                "trivially copyable");

  // An empty handle: size() is 0.
  RawArray() = default;

  // Makes one of `size` zeros.
  //
  // Errors:
  //   kInvalidArgument    more than there can be.
  //   kResourceExhausted  no memory or descriptors left.
  static absl::StatusOr<RawArray> Create(size_t size) {
    if (size > PTRDIFF_MAX / sizeof(T)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "RawArray: ", size, " elements of ", sizeof(T), " bytes cannot be"));
    }
    // One without elements can be sent as well.
    MP_ASSIGN_OR_RETURN(
        internal::SharedBytes bytes,
        internal::SharedBytes::Create(std::max<size_t>(size * sizeof(T), 1)));
    return RawArray(std::move(bytes), size);
  }

  // Makes one of the same elements.
  static absl::StatusOr<RawArray> From(absl::Span<const T> elements) {
    MP_ASSIGN_OR_RETURN(RawArray array, Create(elements.size()));
    std::copy(elements.begin(), elements.end(), array.data());
    return array;
  }

  size_t size() const { return size_; }
  T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
  absl::Span<T> span() const { return absl::MakeSpan(data(), size_); }
  T* begin() const { return data(); }
  T* end() const { return data() + size_; }

  // Ends the process with a message if there is no such element.
  T& operator[](size_t index) const {
    MP_CHECK_OK(CheckIndex(index));
    return data()[index];
  }

  // Errors:
  //   kOutOfRange  there is no such element.
  absl::StatusOr<T*> At(size_t index) const {
    MP_RETURN_IF_ERROR(CheckIndex(index));
    return data() + index;
  }

  // Copies out each `step`th element from `begin` up to `end`; both may lie
  // behind the end of the array.
  //
  // Errors:
  //   kInvalidArgument  `step` is 0.
  // Source: Python's array[begin:end:step]. Differs: nothing counts from the
  //         end.
  absl::StatusOr<std::vector<T>> Slice(size_t begin, size_t end,
                                       size_t step = 1) const {
    if (step == 0) {
      return absl::InvalidArgumentError("Slice: the step is 0");
    }
    std::vector<T> slice;
    end = std::min(end, size_);
    for (size_t i = begin; i < end; i += step) {
      slice.push_back(data()[i]);
      if (step >= end - i) break;
    }
    return slice;
  }

  // Replaces as many elements from `begin` on.
  //
  // Errors:
  //   kOutOfRange  they would not fit; nothing is changed.
  absl::Status SetSlice(size_t begin, absl::Span<const T> elements) const {
    if (begin > size_ || elements.size() > size_ - begin) {
      return absl::OutOfRangeError(absl::StrCat("SetSlice: ", elements.size(),
                                                " elements from ", begin,
                                                " on, the array has ", size_));
    }
    std::copy(elements.begin(), elements.end(), data() + begin);
    return absl::OkStatus();
  }

  // Makes another one with the same contents.
  //
  // Source: CPython multiprocessing.sharedctypes.copy().
  absl::StatusOr<RawArray> Copy() const { return From(span()); }

  // Whether both show the same array.
  friend bool operator==(const RawArray&, const RawArray&) = default;

 private:
  friend struct Serializer<RawArray>;
  RawArray(internal::SharedBytes bytes, size_t size)
      : bytes_(std::move(bytes)), size_(size) {}

  absl::Status CheckIndex(size_t index) const {
    if (index < size_) return absl::OkStatus();
    return absl::OutOfRangeError(
        absl::StrCat("index ", index, ", the array has ", size_, " elements"));
  }

  internal::SharedBytes bytes_;
  size_t size_ = 0;
};

template <typename T>
struct Serializer<RawArray<T>> {
  static void Encode(const RawArray<T>& array, Encoder& encoder) {
    encoder.WriteCount(array.size_);
    encoder.Write(array.bytes_);
  }
  static absl::StatusOr<RawArray<T>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const uint64_t size, decoder.ReadNumber());
    MP_ASSIGN_OR_RETURN(internal::SharedBytes bytes,
                        decoder.Read<internal::SharedBytes>());
    if (size <= bytes.size_bytes() / sizeof(T)) {
      return RawArray<T>(std::move(bytes), size);
    }
    return absl::DataLossError(absl::StrCat("RawArray: shared memory of ",
                                            bytes.size_bytes(), " bytes for ",
                                            size, " elements of ", sizeof(T)));
  }
};

}  // namespace mp

#endif  // MP_SHAREDMEM_RAW_ARRAY_H_
