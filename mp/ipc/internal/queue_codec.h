#ifndef MP_IPC_INTERNAL_QUEUE_CODEC_H_
#define MP_IPC_INTERNAL_QUEUE_CODEC_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/internal/type_fingerprint.h"
#include "mp/process/fields.h"
#include "mp/process/serializer.h"

// Which values lie in a queue as the bytes that they are in memory. They need
// no Encoder: one copy in and one copy out.
namespace mp::internal {

template <typename T>
struct FlatTraits : std::bool_constant<Number<T>> {};
template <>
struct FlatTraits<std::byte> : std::true_type {};
template <typename T, size_t kSize>
struct FlatTraits<std::array<T, kSize>>
    : std::bool_constant<(kSize > 0) && FlatTraits<T>::value> {};

template <typename Fields>
struct FlatFields;
template <typename... Field>
struct FlatFields<std::tuple<Field&...>> {
  static constexpr bool kAll = (FlatTraits<Field>::value && ...);
  static constexpr size_t kBytes = (sizeof(Field) + ... + 0);
};

// A struct whose fields all travel, and are all that it consists of.
template <typename T>
constexpr bool IsFlatStruct() {
  if constexpr (HasFields<T> && std::is_trivially_copyable_v<T> &&
                std::is_default_constructible_v<T>) {
    using Fields = FlatFields<decltype(FieldAccess::Of(std::declval<T&>()))>;
    return Fields::kAll && Fields::kBytes == sizeof(T);
  } else {
    return false;
  }
}

// Numbers, arrays of them and structs of such without gaps. Every pattern of
// bits is a value of it, so that forged bytes do no harm.
template <typename T>
concept Flat = FlatTraits<T>::value || IsFlatStruct<T>();

// Strings, and vectors of numbers.
template <typename T>
inline constexpr bool kIsFlatRun = false;
template <typename C, typename Traits, typename Allocator>
inline constexpr bool kIsFlatRun<std::basic_string<C, Traits, Allocator>> =
    Number<C>;
template <typename T, typename Allocator>
inline constexpr bool kIsFlatRun<std::vector<T, Allocator>> =
    Number<T> || std::same_as<T, std::byte>;
template <typename T>
concept FlatRun = kIsFlatRun<T>;

// The others are encoded, and may have descriptors with them.
template <typename T>
concept FlatMessage = Flat<T> || FlatRun<T>;

// Bytes of any length, which can be written in place.
template <typename T>
concept ByteRun = FlatRun<T> && sizeof(typename T::value_type) == 1;

template <FlatMessage T>
absl::string_view FlatBytes(const T& value) {
  if constexpr (FlatRun<T>) {
    return {reinterpret_cast<const char*>(value.data()),
            value.size() * sizeof(typename T::value_type)};
  } else {
    return {reinterpret_cast<const char*>(&value), sizeof(T)};
  }
}

template <FlatMessage T>
absl::Status ReadFlat(absl::string_view bytes, T& value) {
  constexpr size_t kUnit = [] {
    if constexpr (FlatRun<T>) {
      return sizeof(typename T::value_type);
    } else {
      return sizeof(T);
    }
  }();
  const bool whole =
      FlatRun<T> ? bytes.size() % kUnit == 0 : bytes.size() == kUnit;
  if (!whole) {
    return absl::DataLossError(absl::StrCat("Queue::Get: a message of ",
                                            bytes.size(), " bytes is no ",
                                            TypeName<T>()));
  }
  if constexpr (FlatRun<T>) {
    const auto* const begin =
        reinterpret_cast<const typename T::value_type*>(bytes.data());
    if constexpr (kUnit == 1) {
      value.assign(begin, begin + bytes.size());
      return absl::OkStatus();
    } else {
      value.resize(bytes.size() / kUnit);
    }
    if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), bytes.size());
  } else {
    std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof(T));
  }
  return absl::OkStatus();
}

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_CODEC_H_
