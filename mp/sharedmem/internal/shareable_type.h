#ifndef MP_SHAREDMEM_INTERNAL_SHAREABLE_TYPE_H_
#define MP_SHAREDMEM_INTERNAL_SHAREABLE_TYPE_H_

#include <array>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

#include "mp/process/travel.h"

namespace mp::internal {

// Whether a T has an address in it which means nothing to another process, as
// far as its type tells: what a struct has as members is not known.
template <typename T>
inline constexpr bool kHasAddress =
    std::is_pointer_v<T> || std::is_reference_v<T> || std::is_null_pointer_v<T>;
template <typename T>
inline constexpr bool kHasAddress<const T> = kHasAddress<T>;
template <typename T, size_t kSize>
inline constexpr bool kHasAddress<T[kSize]> = kHasAddress<T>;
template <typename T, size_t kSize>
inline constexpr bool kHasAddress<std::array<T, kSize>> = kHasAddress<T>;
template <typename T>
inline constexpr bool kHasAddress<std::optional<T>> = kHasAddress<T>;
template <typename T, typename U>
inline constexpr bool kHasAddress<std::pair<T, U>> =
    kHasAddress<T> || kHasAddress<U>;

// The same for views, each of which is an address and a size.
template <typename T>
inline constexpr bool kHasView = kIsView<T>;
template <typename T>
inline constexpr bool kHasView<const T> = kHasView<T>;
template <typename T, size_t kSize>
inline constexpr bool kHasView<T[kSize]> = kHasView<T>;
template <typename T, size_t kSize>
inline constexpr bool kHasView<std::array<T, kSize>> = kHasView<T>;
template <typename T>
inline constexpr bool kHasView<std::optional<T>> = kHasView<T>;
template <typename T, typename U>
inline constexpr bool kHasView<std::pair<T, U>> = kHasView<T> || kHasView<U>;

// Compiles if a T can lie in shared memory. Otherwise gives one error that says
// what to do.
template <typename T>
constexpr bool CheckShareable() {
  static_assert(!kHasAddress<T>,
                "mp: a pointer or reference means nothing in another process; "
                "share what it points to, or an index");
  static_assert(!kHasView<T>,
                "mp: a view (string_view, span, reference_wrapper) shows "
                "memory that another process has not; share a std::array");
  static_assert(std::is_trivially_destructible_v<T>,
                "mp: nobody destroys the last of all copies of what is in "
                "shared memory; share what is trivially destructible");
  static_assert(alignof(T) <= 64, "mp: shared memory is aligned to 64 bytes");
  return true;
}

}  // namespace mp::internal

#endif  // MP_SHAREDMEM_INTERNAL_SHAREABLE_TYPE_H_
