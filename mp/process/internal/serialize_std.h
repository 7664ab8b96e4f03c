#ifndef MP_PROCESS_INTERNAL_SERIALIZE_STD_H_
#define MP_PROCESS_INTERNAL_SERIALIZE_STD_H_

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/variant.h"
#include "absl/utility/utility.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/fields.h"
#include "mp/process/travel.h"

namespace mp {
namespace internal {

template <typename T, template <typename...> class Template>
inline constexpr bool kIsA = false;
template <template <typename...> class Template, typename... Args>
inline constexpr bool kIsA<Template<Args...>, Template> = true;

// Abseil's own optional and variant are the standard's in some builds.
template <typename T>
concept Optional = kIsA<T, std::optional> || kIsA<T, absl::optional>;
template <typename T>
concept Variant = kIsA<T, std::variant> || kIsA<T, absl::variant>;

// Numbers that are copied as they are. Every pattern of bits is a value.
template <typename T>
concept Number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

template <typename T>
concept Iterable = !HasFields<T> && requires(const T& value) {
  typename T::value_type;
  value.begin();
  value.end();
  { value.size() } -> std::convertible_to<size_t>;
};

// Vectors, strings, lists, deques.
template <typename T>
concept Sequence = Iterable<T> && std::default_initializable<T> &&
    requires(T& value, typename T::value_type item) {
  value.push_back(std::move(item));
};

// Sets and maps.
template <typename T>
concept Associative =
    Iterable<T> && !Sequence<T> && std::default_initializable<T> &&
    requires(T & value, typename T::value_type item) {
  typename T::key_type;
  value.insert(std::move(item));
};

template <typename T>
concept ContiguousNumbers = Sequence<T> && Number<typename T::value_type> &&
    requires(T& value) {
  { value.data() } -> std::same_as<typename T::value_type*>;
  value.resize(size_t{});
};

// Captureless lambdas, function objects without state, std::monostate.
template <typename T>
concept Stateless = std::is_empty_v<T> && std::default_initializable<T> &&
                    std::is_trivially_copyable_v<T> && !HasFields<T> &&
                    !Iterable<T> && !kIsA<T, std::tuple>;

inline absl::StatusOr<bool> ReadFlag(Decoder& decoder) {
  unsigned char byte;
  MP_RETURN_IF_ERROR(decoder.ReadRaw(&byte, 1));
  if (byte > 1) {
    return absl::DataLossError(
        absl::StrCat("Decoder: ", byte, " where 0 or 1 should be"));
  }
  return byte == 1;
}

inline void WriteFlag(bool flag, Encoder& encoder) {
  const unsigned char byte = flag ? 1 : 0;
  encoder.WriteRaw(&byte, 1);
}

// A value without content takes a byte all the same: see Encoder.
inline void WriteNothing(Encoder& encoder) { WriteFlag(false, encoder); }
inline absl::Status ReadNothing(Decoder& decoder) {
  return ReadFlag(decoder).status();
}

}  // namespace internal

template <typename T>
requires internal::Number<T>
struct Serializer<T> {
  static void Encode(T value, Encoder& encoder) {
    encoder.WriteRaw(&value, sizeof(value));
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    T value;
    MP_RETURN_IF_ERROR(decoder.ReadRaw(&value, sizeof(value)));
    return value;
  }
};

template <>
struct Serializer<bool> {
  static void Encode(bool value, Encoder& encoder) {
    internal::WriteFlag(value, encoder);
  }
  static absl::StatusOr<bool> Decode(Decoder& decoder) {
    return internal::ReadFlag(decoder);
  }
};

template <typename T>
requires std::is_enum_v<T>
struct Serializer<T> {
  using Underlying = std::underlying_type_t<T>;
  static void Encode(T value, Encoder& encoder) {
    encoder.Write(static_cast<Underlying>(value));
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const Underlying value, decoder.Read<Underlying>());
    return static_cast<T>(value);
  }
};

template <typename T>
requires internal::Stateless<T>
struct Serializer<T> {
  static void Encode(const T&, Encoder& encoder) {
    internal::WriteNothing(encoder);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_RETURN_IF_ERROR(internal::ReadNothing(decoder));
    return T();
  }
};

template <typename T>
requires internal::ContiguousNumbers<T>
struct Serializer<T> {
  using Item = typename T::value_type;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.WriteCount(value.size());
    encoder.WriteRaw(value.data(), value.size() * sizeof(Item));
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const size_t count, decoder.ReadCount());
    if (count > decoder.bytes_left() / sizeof(Item)) {
      return absl::DataLossError(absl::StrCat("Decoder: a count of ", count,
                                              " in ", decoder.bytes_left(),
                                              " bytes"));
    }
    T value;
    value.resize(count);
    MP_RETURN_IF_ERROR(decoder.ReadRaw(value.data(), count * sizeof(Item)));
    return value;
  }
};

template <typename T>
requires(internal::Sequence<T> &&
         !internal::ContiguousNumbers<T>) struct Serializer<T> {
  using Item = typename T::value_type;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.WriteCount(value.size());
    // The type is given because the items of vector<bool> have another.
    for (const auto& item : value) encoder.Write<Item>(item);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(size_t count, decoder.ReadCount());
    T value;
    while (count-- > 0) {
      MP_ASSIGN_OR_RETURN(Item item, decoder.Read<Item>());
      value.push_back(std::move(item));
    }
    return value;
  }
};

template <typename T>
requires internal::Associative<T>
struct Serializer<T> {
  using Item = typename T::value_type;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.WriteCount(value.size());
    for (const Item& item : value) encoder.Write(item);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(size_t count, decoder.ReadCount());
    T value;
    while (count-- > 0) {
      MP_ASSIGN_OR_RETURN(Item item, decoder.Read<Item>());
      value.insert(std::move(item));
    }
    return value;
  }
};

template <typename T, size_t kSize>
struct Serializer<std::array<T, kSize>> {
  static void Encode(const std::array<T, kSize>& value, Encoder& encoder) {
    internal::WriteNothing(encoder);
    for (const T& item : value) encoder.Write(item);
  }
  static absl::StatusOr<std::array<T, kSize>> Decode(Decoder& decoder) {
    MP_RETURN_IF_ERROR(internal::ReadNothing(decoder));
    std::array<T, kSize> value;
    for (T& item : value) {
      MP_ASSIGN_OR_RETURN(item, decoder.Read<T>());
    }
    return value;
  }
};

template <typename A, typename B>
struct Serializer<std::pair<A, B>> {
  static void Encode(const std::pair<A, B>& value, Encoder& encoder) {
    encoder.Write<std::remove_const_t<A>>(value.first);
    encoder.Write<std::remove_const_t<B>>(value.second);
  }
  static absl::StatusOr<std::pair<A, B>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(auto first, decoder.Read<std::remove_const_t<A>>());
    MP_ASSIGN_OR_RETURN(auto second, decoder.Read<std::remove_const_t<B>>());
    return absl::StatusOr<std::pair<A, B>>(absl::in_place, std::move(first),
                                           std::move(second));
  }
};

template <typename... Ts>
struct Serializer<std::tuple<Ts...>> {
  static void Encode(const std::tuple<Ts...>& value, Encoder& encoder) {
    internal::WriteNothing(encoder);
    std::apply([&](const Ts&... items) { (encoder.Write(items), ...); }, value);
  }
  static absl::StatusOr<std::tuple<Ts...>> Decode(Decoder& decoder) {
    MP_RETURN_IF_ERROR(internal::ReadNothing(decoder));
    // Braces, unlike parentheses, read from left to right.
    std::tuple<ReadResult<Ts>...> items{decoder.Read<Ts>()...};
    return std::apply(
        [](ReadResult<Ts>&... item) -> absl::StatusOr<std::tuple<Ts...>> {
          absl::Status status;
          (status.Update(item.status()), ...);
          if (!status.ok()) return status;
          return absl::StatusOr<std::tuple<Ts...>>(absl::in_place,
                                                   *std::move(item)...);
        },
        items);
  }
};

template <typename T>
requires internal::Optional<T>
struct Serializer<T> {
  using Value = typename T::value_type;
  static void Encode(const T& value, Encoder& encoder) {
    internal::WriteFlag(value.has_value(), encoder);
    if (value.has_value()) encoder.Write(*value);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const bool has_value, internal::ReadFlag(decoder));
    if (!has_value) return T();
    MP_ASSIGN_OR_RETURN(Value value, decoder.Read<Value>());
    return T(std::move(value));
  }
};

template <template <typename...> class V, typename... Ts>
requires internal::Variant<V<Ts...>>
struct Serializer<V<Ts...>> {
  using T = V<Ts...>;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.WriteCount(value.index());
    Encode(value, encoder, std::index_sequence_for<Ts...>());
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const uint64_t index, decoder.ReadNumber());
    if (index >= sizeof...(Ts)) {
      return absl::DataLossError(absl::StrCat(
          "Decoder: alternative ", index, " of a variant of ", sizeof...(Ts)));
    }
    return Decode(decoder, index, std::index_sequence_for<Ts...>());
  }

 private:
  template <size_t... kIndex>
  static void Encode(const T& value, Encoder& encoder,
                     std::index_sequence<kIndex...>) {
    const bool written = ((value.index() == kIndex &&
                           (encoder.Write<Ts>(get<kIndex>(value)), true)) ||
                          ...);
    if (!written) {
      encoder.Fail(absl::InvalidArgumentError(
          "Encoder::Write: a variant that is valueless by exception"));
    }
  }

  template <size_t... kIndex>
  static absl::StatusOr<T> Decode(Decoder& decoder, size_t index,
                                  std::index_sequence<kIndex...>) {
    absl::StatusOr<T> result;
    const bool known =
        ((index == kIndex && (DecodeAs<kIndex, Ts>(decoder, result), true)) ||
         ...);
    static_cast<void>(known);  // checked by the caller
    return result;
  }

  template <size_t kIndex, typename Alternative>
  static void DecodeAs(Decoder& decoder, absl::StatusOr<T>& result) {
    ReadResult<Alternative> value = decoder.Read<Alternative>();
    if (!value.ok()) {
      result = value.status();
      return;
    }
    // Not with a default value first: the first alternative may have none.
    if constexpr (internal::kIsA<T, std::variant>) {
      result.emplace(std::in_place_index<kIndex>, *std::move(value));
    } else {
      result.emplace(absl::in_place_index<kIndex>, *std::move(value));
    }
  }
};

template <typename Rep, typename Period>
struct Serializer<std::chrono::duration<Rep, Period>> {
  using T = std::chrono::duration<Rep, Period>;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.Write(value.count());
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const Rep count, decoder.Read<Rep>());
    return T(count);
  }
};

template <typename Clock, typename Duration>
struct Serializer<std::chrono::time_point<Clock, Duration>> {
  using T = std::chrono::time_point<Clock, Duration>;
  static void Encode(const T& value, Encoder& encoder) {
    encoder.Write(value.time_since_epoch());
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const Duration since, decoder.Read<Duration>());
    return T(since);
  }
};

template <>
struct Serializer<std::filesystem::path> {
  static void Encode(const std::filesystem::path& path, Encoder& encoder) {
    encoder.Write(path.native());
  }
  static absl::StatusOr<std::filesystem::path> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(std::string path, decoder.Read<std::string>());
    return std::filesystem::path(std::move(path));
  }
};

// Structs with MP_FIELDS.
template <typename T>
requires internal::HasFields<T>
struct Serializer<T> {
  static void Encode(const T& value, Encoder& encoder) {
    internal::WriteNothing(encoder);
    // The fields are only read.
    std::apply([&](auto&... field) { (EncodeField(field, encoder), ...); },
               internal::FieldAccess::Of(const_cast<T&>(value)));
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    constexpr bool kHasDefault = std::is_default_constructible_v<T>;
    static_assert(kHasDefault,
                  "mp: a struct with MP_FIELDS needs a default constructor");
    MP_RETURN_IF_ERROR(internal::ReadNothing(decoder));
    if constexpr (kHasDefault) {
      absl::StatusOr<T> value(absl::in_place);
      MP_RETURN_IF_ERROR(DecodeFields(*value, decoder));
      return value;
    } else {
      return absl::InternalError("unreachable: this does not compile");
    }
  }

 private:
  static absl::Status DecodeFields(T& value, Decoder& decoder) {
    absl::Status status;
    std::apply(
        [&](auto&... field) {
          static_cast<void>(
              ((status = DecodeField(field, decoder)).ok() && ...));
        },
        internal::FieldAccess::Of(value));
    return status;
  }

  template <typename Field>
  static void EncodeField(const Field& field, Encoder& encoder) {
    if constexpr (std::is_array_v<Field>) {
      for (const auto& item : field) EncodeField(item, encoder);
    } else {
      encoder.Write(field);
    }
  }

  template <typename Field>
  static absl::Status DecodeField(Field& field, Decoder& decoder) {
    if constexpr (std::is_array_v<Field>) {
      for (auto& item : field) {
        MP_RETURN_IF_ERROR(DecodeField(item, decoder));
      }
    } else {
      MP_ASSIGN_OR_RETURN(field, decoder.Read<Field>());
    }
    return absl::OkStatus();
  }
};

}  // namespace mp

#endif  // MP_PROCESS_INTERNAL_SERIALIZE_STD_H_
