#ifndef MP_POOL_INTERNAL_TASK_TYPES_H_
#define MP_POOL_INTERNAL_TASK_TYPES_H_

#include <functional>
#include <iterator>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/job.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/signature.h"
#include "mp/process/serializer.h"

namespace mp {
namespace internal {

// What a function F makes of arguments A, one item of a pool's.
template <typename F, typename... A>
struct TaskTypes {
  using Function = F;
  using Tuple = typename ArgumentsOf<F, A...>::Tuple;
  using Result = typename TaskResultOf<F, Tuple>::Type;

  template <typename G>
  static std::shared_ptr<const Job> MakeJob(G&& function) {
    using Check = CheckCallTravels<F, Tuple>;
    Check::Check();
    if constexpr (CheckCall<F, A...>() && Check::kTravels) {
      return std::make_shared<TravellingJob<F, Tuple>>(
          std::forward<G>(function));
    } else {
      return nullptr;
    }
  }
};

// What a range is of. A reference to an item may be something else, as with
// std::vector<bool>.
template <typename Iterator>
struct ItemAt {
  using Type = std::remove_cvref_t<decltype(*std::declval<Iterator&>())>;
};
template <typename Iterator>
requires requires { typename std::iter_value_t<Iterator>; }
struct ItemAt<Iterator> {
  using Type = std::iter_value_t<Iterator>;
};
template <typename Range>
using ItemOf = typename ItemAt<decltype(std::begin(
    std::declval<std::remove_reference_t<Range>&>()))>::Type;

// A function of several parameters, as one of their tuple.
template <typename F>
struct Star {
  F function;

  template <typename... A>
  auto operator()(std::tuple<A...> arguments) {
    return std::apply(function, std::move(arguments));
  }
};

template <typename F>
struct FunctionIdOf<Star<F>> {
  static FunctionId Of(const Star<F>& star) {
    return FunctionIdOf<F>::Of(star.function);
  }
};

// What Map() makes of the results of all items: their values, or the first
// error.
template <typename T>
struct AllOf {
  using Type = std::vector<T>;
  static absl::StatusOr<Type> From(std::vector<absl::StatusOr<T>> results) {
    Type values;
    values.reserve(results.size());
    for (absl::StatusOr<T>& result : results) {
      MP_RETURN_IF_ERROR(result.status());
      values.push_back(*std::move(result));
    }
    return values;
  }
};
template <>
struct AllOf<void> {
  using Type = void;
  static absl::Status From(const std::vector<absl::Status>& results) {
    for (const absl::Status& result : results) MP_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }
};

}  // namespace internal

template <typename F>
struct Serializer<internal::Star<F>> {
  static void Encode(const internal::Star<F>& star, Encoder& encoder) {
    encoder.Write(star.function);
  }
  static absl::StatusOr<internal::Star<F>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(F function, decoder.Read<F>());
    return internal::Star<F>{std::move(function)};
  }
};

}  // namespace mp

#endif  // MP_POOL_INTERNAL_TASK_TYPES_H_
