#ifndef MP_SHAREDMEM_ARRAY_H_
#define MP_SHAREDMEM_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"
#include "mp/sharedmem/raw_array.h"
#include "mp/sharedmem/synchronized.h"
#include "mp/sync/rlock.h"

namespace mp {

// An array that several processes have at once, with a lock.
//
// Example:
//   void Square(mp::Array<int> numbers) {
//     MP_CHECK_OK(numbers.With([](absl::Span<int> all) {
//       for (int& n : all) n *= n;
//     }));
//   }
//
//   MP_ASSIGN_OR_RETURN(auto numbers, mp::Array<int>::From({1, 2, 3}));
//   mp::Process p(Square, numbers);
//
// Each call takes the lock for itself; what has to happen at once goes into one
// With(), or between Acquire() and Release(). Without a lock: RawArray.
//
// Shape:   a fixed number of Ts, trivially copyable.
// Owns, Threads, Fork, Death: as Synchronized.
// Source:  CPython multiprocessing.Array().
template <typename T, typename L = RLock>
class Array : public Synchronized<RawArray<T>, L> {
  using Base = Synchronized<RawArray<T>, L>;

 public:
  // An empty handle.
  Array() = default;

  // Makes one of `size` zeros, with a lock of its own.
  //
  // Errors: those of RawArray::Create().
  static absl::StatusOr<Array> Create(size_t size) {
    MP_ASSIGN_OR_RETURN(L lock, L::Create());
    return CreateWith(std::move(lock), size);
  }
  static absl::StatusOr<Array> From(absl::Span<const T> elements) {
    MP_ASSIGN_OR_RETURN(L lock, L::Create());
    return FromWith(std::move(lock), elements);
  }

  // The same with a lock that guards other things as well.
  static absl::StatusOr<Array> CreateWith(L lock, size_t size) {
    MP_ASSIGN_OR_RETURN(auto raw, RawArray<T>::Create(size));
    return Array(std::move(raw), std::move(lock));
  }
  static absl::StatusOr<Array> FromWith(L lock, absl::Span<const T> elements) {
    MP_ASSIGN_OR_RETURN(auto raw, RawArray<T>::From(elements));
    return Array(std::move(raw), std::move(lock));
  }

  explicit Array(RawArray<T> raw, L lock)
      : Base(std::move(raw), std::move(lock)) {}

  size_t size() const { return this->get_obj().size(); }

  // Errors:
  //   kOutOfRange  there is no such element.
  //   and those of the lock's Acquire().
  absl::StatusOr<T> Get(size_t index) const {
    return this->Locked([&]() -> absl::StatusOr<T> {
      MP_ASSIGN_OR_RETURN(T* const element, this->get_obj().At(index));
      return *element;
    });
  }
  absl::Status Set(size_t index, const T& value) {
    return this->Locked([&]() -> absl::Status {
      MP_ASSIGN_OR_RETURN(T* const element, this->get_obj().At(index));
      *element = value;
      return absl::OkStatus();
    });
  }

  // As RawArray's.
  absl::StatusOr<std::vector<T>> Slice(size_t begin, size_t end,
                                       size_t step = 1) const {
    return this->Locked(
        [&] { return this->get_obj().Slice(begin, end, step); });
  }
  absl::Status SetSlice(size_t begin, absl::Span<const T> elements) {
    return this->Locked(
        [&] { return this->get_obj().SetSlice(begin, elements); });
  }

  // All elements.
  absl::StatusOr<std::vector<T>> ToVector() const { return Slice(0, size()); }

  // Of characters: those up to the first NUL, and all of them.
  //
  // Source: CPython Array('c').value and raw.
  absl::StatusOr<std::string> Text() const requires(sizeof(T) == 1) {
    MP_ASSIGN_OR_RETURN(std::string text, Raw());
    text.resize(std::min(text.find('\0'), text.size()));
    return text;
  }
  absl::StatusOr<std::string> Raw() const requires(sizeof(T) == 1) {
    return With([](absl::Span<const T> all) {
      return std::string(all.begin(), all.end());
    });
  }

  // Calls `f` with all elements while they are locked; as Value::With().
  template <typename F>
  auto With(F&& f) {
    return this->Locked([&]() {
      return std::invoke(std::forward<F>(f), this->get_obj().span());
    });
  }
  template <typename F>
  auto With(F&& f) const {
    return this->Locked([&]() {
      return std::invoke(std::forward<F>(f),
                         absl::Span<const T>(this->get_obj().span()));
    });
  }

  // Makes another one with the same contents and a lock of its own.
  //
  // Source: CPython multiprocessing.sharedctypes.copy().
  absl::StatusOr<Array> Copy() const {
    MP_ASSIGN_OR_RETURN(L lock, L::Create());
    return With([&](absl::Span<const T> all) {
      return FromWith(std::move(lock), all);
    });
  }
};

template <typename T, typename L>
struct Serializer<Array<T, L>> {
  static void Encode(const Array<T, L>& array, Encoder& encoder) {
    encoder.Write(array.get_obj());
    encoder.Write(array.get_lock());
  }
  static absl::StatusOr<Array<T, L>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto raw, decoder.Read<RawArray<T>>());
    MP_ASSIGN_OR_RETURN(L lock, decoder.Read<L>());
    return Array<T, L>(std::move(raw), std::move(lock));
  }
};

}  // namespace mp

#endif  // MP_SHAREDMEM_ARRAY_H_
