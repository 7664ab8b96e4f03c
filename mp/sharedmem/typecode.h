#ifndef MP_SHAREDMEM_TYPECODE_H_
#define MP_SHAREDMEM_TYPECODE_H_

#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// The letters by which CPython names types of shared numbers, for programs that
// are translated from it and for types that are chosen at run time.
//
// Example:
//   mp::Array<mp::TypecodeT<'d'>> doubles;
//   MP_RETURN_IF_ERROR(mp::VisitTypecode(letter, [&](auto type) {
//     using T = typename decltype(type)::type;
//     return Fill<T>();  // an absl::Status
//   }));
//
// Source: CPython multiprocessing.sharedctypes.typecode_to_type.
namespace mp {

namespace internal {

template <char kCode>
struct Typecode;
template <>
struct Typecode<'c'> : std::type_identity<char> {};
template <>
struct Typecode<'u'> : std::type_identity<wchar_t> {};
template <>
struct Typecode<'b'> : std::type_identity<signed char> {};
template <>
struct Typecode<'B'> : std::type_identity<unsigned char> {};
template <>
struct Typecode<'h'> : std::type_identity<short> {};
template <>
struct Typecode<'H'> : std::type_identity<unsigned short> {};
template <>
struct Typecode<'i'> : std::type_identity<int> {};
template <>
struct Typecode<'I'> : std::type_identity<unsigned int> {};
template <>
struct Typecode<'l'> : std::type_identity<long> {};
template <>
struct Typecode<'L'> : std::type_identity<unsigned long> {};
template <>
struct Typecode<'q'> : std::type_identity<long long> {};
template <>
struct Typecode<'Q'> : std::type_identity<unsigned long long> {};
template <>
struct Typecode<'f'> : std::type_identity<float> {};
template <>
struct Typecode<'d'> : std::type_identity<double> {};

template <typename F, char... kCodes>
absl::Status VisitTypecodeOf(char code, F&& f,
                             std::integer_sequence<char, kCodes...>) {
  absl::Status status = absl::InvalidArgumentError(
      absl::StrCat("typecode '", absl::string_view(&code, 1),
                   "', which is none of c u b B h H i I l L q Q f d"));
  static_cast<void>(
      ((code == kCodes && (status = f(Typecode<kCodes>()), true)) || ...));
  return status;
}

}  // namespace internal

// The type that a letter stands for.
template <char kCode>
using TypecodeT = typename internal::Typecode<kCode>::type;

// Calls `f`, which returns an absl::Status, with a std::type_identity of the
// type that `code` stands for.
//
// Errors:
//   kInvalidArgument  it stands for none.
//   and those of `f`.
template <typename F>
absl::Status VisitTypecode(char code, F&& f) {
  return internal::VisitTypecodeOf(
      code, std::forward<F>(f),
      std::integer_sequence<char, 'c', 'u', 'b', 'B', 'h', 'H', 'i', 'I', 'l',
                            'L', 'q', 'Q', 'f', 'd'>());
}

}  // namespace mp

#endif  // MP_SHAREDMEM_TYPECODE_H_
