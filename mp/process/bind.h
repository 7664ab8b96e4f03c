#ifndef MP_PROCESS_BIND_H_
#define MP_PROCESS_BIND_H_

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/signature.h"
#include "mp/process/serializer.h"

namespace mp {

// What mp::Bind() returns: a callable that travels with its first arguments.
template <typename F, typename... Bound>
class BoundCall {
 public:
  BoundCall(F function, std::tuple<Bound...> arguments)
      : function_(std::move(function)), arguments_(std::move(arguments)) {}

  // Calls the function with the bound arguments and then these. The bound ones
  // are passed as const, since it may be called again.
  template <typename... Rest>
  requires std::is_invocable_v<const F&, const Bound&..., Rest...>
  decltype(auto) operator()(Rest&&... rest) const {
    return std::apply(
        [&](const Bound&... bound) -> decltype(auto) {
          return std::invoke(function_, bound..., std::forward<Rest>(rest)...);
        },
        arguments_);
  }

 private:
  friend struct Serializer<BoundCall>;

  F function_;
  std::tuple<Bound...> arguments_;
};

// Binds the first arguments of a function, as std::bind_front() does, to a
// callable that can travel to another process. It is what a lambda with
// captures would be, if the captures could be seen.
//
// Example:
//   auto grep = mp::Bind(CountMatches, "needle");  // (pattern, path)
//   mp::Process p(grep, "/etc/services");
//
// `function` is anything that travels, and so are the arguments, which are kept
// as the types of the function's parameters.
// Source: CPython functools.partial, which its multiprocessing can send.
template <typename F, typename... Args>
auto Bind(F&& function, Args&&... args) {
  using Function = std::decay_t<F>;
  using Tuple = typename internal::ArgumentsOf<Function, Args...>::Tuple;
  if constexpr (internal::CheckArguments<Function, Args...>()) {
    return std::apply(
        [&](auto&&... kept) {
          return BoundCall<Function, std::decay_t<decltype(kept)>...>(
              std::forward<F>(function), Tuple(std::move(kept)...));
        },
        Tuple(std::forward<Args>(args)...));
  } else {
    // Fits everywhere, so that there is no error but that of the check.
    return [](const auto&...) {};
  }
}

template <typename F, typename... Bound>
struct Serializer<BoundCall<F, Bound...>> {
  using T = BoundCall<F, Bound...>;
  static void Encode(const T& call, Encoder& encoder) {
    encoder.Write(call.function_);
    encoder.Write(call.arguments_);
  }
  static absl::StatusOr<T> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(F function, decoder.Read<F>());
    MP_ASSIGN_OR_RETURN(auto arguments, decoder.Read<std::tuple<Bound...>>());
    return T(std::move(function), std::move(arguments));
  }
};

}  // namespace mp

#endif  // MP_PROCESS_BIND_H_
