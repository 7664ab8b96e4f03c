#ifndef MP_PROCESS_INTERNAL_SIGNATURE_H_
#define MP_PROCESS_INTERNAL_SIGNATURE_H_

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

// With which types the arguments of a callable are kept and sent.
namespace mp::internal {

// The parameters of a callable that has one signature.
template <typename F>
struct Signature {
  static constexpr bool kKnown = false;
};
template <typename... P>
struct Parameters {
  static constexpr bool kKnown = true;
  using Types = std::tuple<P...>;
};

template <typename R, typename... P>
struct Signature<R (*)(P...)> : Parameters<P...> {};
template <typename R, typename... P>
struct Signature<R (*)(P...) noexcept> : Parameters<P...> {};

// A member function takes its object, by value, as the first argument.
template <typename F>
struct MemberSignature;
#define MP_MEMBER_SIGNATURE_(qualifiers)              \
  template <typename R, typename C, typename... P>    \
  struct MemberSignature<R (C::*)(P...) qualifiers> { \
    using WithObject = Parameters<C, P...>;           \
    using WithoutObject = Parameters<P...>;           \
  };
MP_MEMBER_SIGNATURE_()
MP_MEMBER_SIGNATURE_(const)
MP_MEMBER_SIGNATURE_(noexcept)
MP_MEMBER_SIGNATURE_(const noexcept)
MP_MEMBER_SIGNATURE_(&)
MP_MEMBER_SIGNATURE_(const&)
MP_MEMBER_SIGNATURE_(&&)
MP_MEMBER_SIGNATURE_(&noexcept)
MP_MEMBER_SIGNATURE_(const& noexcept)
MP_MEMBER_SIGNATURE_(&&noexcept)
#undef MP_MEMBER_SIGNATURE_

template <typename F>
requires std::is_member_function_pointer_v<F>
struct Signature<F> : MemberSignature<F>::WithObject {
};
template <typename F>
requires requires { &F::operator(); }
struct Signature<F> : MemberSignature<decltype(&F::operator())>::WithoutObject {
};

// How an argument is kept for a parameter of type P: by value. A function
// stays a pointer to it.
template <typename P>
using Kept = std::decay_t<P>;

// How an argument of type A is kept if the parameter's type is not known: a
// literal as a string.
template <typename A>
using KeptArgument = std::conditional_t<
    std::is_array_v<std::remove_reference_t<A>> &&
        std::is_same_v<std::remove_const_t<
                           std::remove_extent_t<std::remove_reference_t<A>>>,
                       char>,
    std::string, std::decay_t<A>>;

template <typename P>
inline constexpr bool kTakesByMutableReference =
    std::is_lvalue_reference_v<P> &&
    !std::is_const_v<std::remove_reference_t<P>> &&
    !std::is_function_v<std::remove_reference_t<P>>;

// The tuple in which the first sizeof...(A) arguments of an F are kept. Where
// that cannot be, one error says why, and the tuple is empty.
template <typename F, typename... A>
class ArgumentsOf {
  template <typename Types, size_t... kIndex>
  static auto FromSignature(std::index_sequence<kIndex...>) {
    constexpr bool kByMutableReference =
        (kTakesByMutableReference<std::tuple_element_t<kIndex, Types>> || ...);
    static_assert(
        !kByMutableReference,
        "mp: a parameter of type T& would change the other process's copy "
        "only; take it by value or by const reference");
    if constexpr (kByMutableReference) {
      return std::type_identity<std::tuple<>>();
    } else {
      return std::type_identity<
          std::tuple<Kept<std::tuple_element_t<kIndex, Types>>...>>();
    }
  }

  static auto Deduce() {
    if constexpr (Signature<F>::kKnown) {
      using Types = typename Signature<F>::Types;
      constexpr bool kTooMany = sizeof...(A) > std::tuple_size_v<Types>;
      static_assert(!kTooMany, "mp: more arguments than the function takes");
      if constexpr (kTooMany) {
        return std::type_identity<std::tuple<>>();
      } else {
        return FromSignature<Types>(std::index_sequence_for<A...>());
      }
    } else {
      return std::type_identity<std::tuple<KeptArgument<A>...>>();
    }
  }

 public:
  using Tuple = typename decltype(Deduce())::type;
};

// Whether each is to the other as an argument to its parameter.
template <typename Kept, typename... A>
inline constexpr bool kConvert = false;
template <typename... Kept, typename... A>
inline constexpr bool kConvert<std::tuple<Kept...>, A...> =
    (std::is_convertible_v<A&&, Kept> && ...);

// Returns whether arguments can be kept for an F. If not, one error says why.
template <typename F, typename... A>
constexpr bool CheckArguments() {
  using Tuple = typename ArgumentsOf<F, A...>::Tuple;
  if constexpr (std::tuple_size_v<Tuple> == sizeof...(A)) {
    static_assert(kConvert<Tuple, A...>,
                  "mp: an argument does not convert to the function's "
                  "parameter");
    return kConvert<Tuple, A...>;
  }
  return false;
}

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_SIGNATURE_H_
