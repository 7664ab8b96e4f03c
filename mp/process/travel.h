#ifndef MP_PROCESS_TRAVEL_H_
#define MP_PROCESS_TRAVEL_H_

#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mp {

class AuthKey;
class Encoder;
class Decoder;

// Says how a T travels to another process. Specialise it for a type that
// declares no MP_FIELDS:
//
//   template <>
//   struct mp::Serializer<Port> {
//     static void Encode(const Port& port, Encoder& encoder) {
//       encoder.Write(port.number());
//     }
//     static absl::StatusOr<Port> Decode(Decoder& decoder) {
//       MP_ASSIGN_OR_RETURN(const int number, decoder.Read<int>());
//       if (number < 0) return absl::DataLossError("a negative port");
//       return Port(number);
//     }
//   };
//
// Encode() writes at least one byte and reports errors by Encoder::Fail().
// Decode() trusts nothing: the bytes may be forged.
template <typename T>
struct Serializer;

// A status that was itself the value sent, since an
// absl::StatusOr<absl::Status> would confuse the two. Converts to what it
// holds.
struct StatusValue {
  absl::Status status;
  operator absl::Status() && { return std::move(status); }
};

// What reading a T gives: absl::StatusOr<T>, and for an absl::Status
// absl::StatusOr<StatusValue>.
template <typename T>
using ReadResult = absl::StatusOr<
    std::conditional_t<std::is_same_v<T, absl::Status>, StatusValue, T>>;

namespace internal {

template <typename T>
concept Travels = requires(const T& value, Encoder& encoder, Decoder& decoder) {
  Serializer<T>::Encode(value, encoder);
  { Serializer<T>::Decode(decoder) } -> std::same_as<ReadResult<T>>;
};

template <typename T>
inline constexpr bool kIsView =
    std::is_same_v<T, absl::string_view> || std::is_same_v<T, std::string_view>;
template <typename T>
inline constexpr bool kIsView<absl::Span<T>> = true;
template <typename T, size_t kExtent>
inline constexpr bool kIsView<std::span<T, kExtent>> = true;
template <typename T>
inline constexpr bool kIsView<std::reference_wrapper<T>> = true;

template <typename T>
inline constexpr bool kIsSecret = std::is_same_v<T, AuthKey>;

// A lambda with captures, or a function object of the same shape.
template <typename T>
inline constexpr bool kIsClosure =
    std::is_class_v<T> && !std::is_empty_v<T> && requires {
  &T::operator();
};

// Compiles if T can travel. Otherwise gives one error that says what to do.
template <typename T>
constexpr void CheckTravels() {
  if constexpr (!Travels<T>) {
    constexpr bool kPointer = std::is_pointer_v<T> || std::is_reference_v<T>;
    static_assert(!kPointer,
                  "mp: a pointer or reference means nothing in another "
                  "process; pass the object by value, or share it in "
                  "shared memory");
    static_assert(!kIsView<T>,
                  "mp: a view (string_view, span, reference_wrapper) does not "
                  "own what it shows; pass a std::string or std::vector");
    static_assert(!kIsSecret<T>,
                  "mp: an AuthKey is not sent, lest a secret be told by "
                  "accident; a process has its parent's key, and "
                  "AuthKey::bytes() is for those who mean it");
    static_assert(!kIsClosure<T>,
                  "mp: a callable with captures cannot travel; pass what it "
                  "captures as arguments, bind it with mp::Bind(f, args...), "
                  "or start it with mp::ForkContext");
    static_assert(kPointer || kIsView<T> || kIsSecret<T> || kIsClosure<T>,
                  "mp: this type cannot travel to another process; declare "
                  "MP_FIELDS(a, b, ...) in it, or specialise mp::Serializer");
  }
}

}  // namespace internal
}  // namespace mp

#endif  // MP_PROCESS_TRAVEL_H_
