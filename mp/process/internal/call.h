#ifndef MP_PROCESS_INTERNAL_CALL_H_
#define MP_PROCESS_INTERNAL_CALL_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/signature.h"
#include "mp/process/internal/trampoline.h"
#include "mp/process/parcel.h"
#include "mp/process/serializer.h"

namespace mp::internal {

// A callable with its arguments, to be called once.
class Call {
 public:
  virtual ~Call() = default;

  // Calls it with the arguments moved in. Returns its status, if it returns an
  // absl::Status or StatusOr; any other result is dropped.
  virtual absl::Status Run() = 0;

  // Whether Encode() is of any use.
  virtual bool travels() const = 0;

  // Writes it so that ReadCall() makes the same call in another process. An
  // error goes to the encoder.
  virtual void Encode(Encoder& encoder) const = 0;
};

// Writes a call for a process that has the same libraries loaded.
absl::StatusOr<Parcel> EncodeCall(const Call& call);

// Reads a call that Call::Encode() wrote.
absl::StatusOr<std::unique_ptr<Call>> ReadCall(Decoder& decoder);

template <typename T>
inline constexpr bool kIsStatusOr = false;
template <typename T>
inline constexpr bool kIsStatusOr<absl::StatusOr<T>> = true;

template <typename F, typename Tuple>
absl::Status InvokeForStatus(F& function, Tuple arguments) {
  const auto invoke = [&]() -> decltype(auto) {
    return std::apply(
        [&](auto&... argument) -> decltype(auto) {
          return std::invoke(function, std::move(argument)...);
        },
        arguments);
  };
  using Result = std::remove_cvref_t<decltype(invoke())>;
  if constexpr (std::is_same_v<Result, absl::Status>) {
    return invoke();
  } else if constexpr (kIsStatusOr<Result>) {
    return invoke().status();
  } else {
    static_cast<void>(invoke());
    return absl::OkStatus();
  }
}

template <typename F, typename Tuple>
inline constexpr bool kCanInvoke = false;
template <typename F, typename... Args>
inline constexpr bool kCanInvoke<F, std::tuple<Args...>> =
    std::is_invocable_v<F&, Args...>;

template <typename F, size_t kCount>
inline constexpr bool kTooFew = false;
template <typename F, size_t kCount>
requires Signature<F>::kKnown inline constexpr bool kTooFew<F, kCount> =
    kCount < std::tuple_size_v<typename Signature<F>::Types>;

// Returns whether the call compiles. If not, one error says why.
template <typename F, typename... Args>
constexpr bool CheckCall() {
  if constexpr (CheckArguments<F, Args...>()) {
    using Tuple = typename ArgumentsOf<F, Args...>::Tuple;
    constexpr bool kEnough = !kTooFew<F, sizeof...(Args)>;
    static_assert(kEnough, "mp: fewer arguments than the function takes");
    static_assert(!kEnough || kCanInvoke<F, Tuple>,
                  "mp: the function cannot be called with these arguments");
    return kEnough && kCanInvoke<F, Tuple>;
  }
  return false;
}

// A call whose callable and arguments travel.
template <typename F, typename Tuple>
class TravellingCall final : public Call {
 public:
  TravellingCall(F function, Tuple arguments)
      : function_(std::move(function)), arguments_(std::move(arguments)) {}

  absl::Status Run() override {
    return InvokeForStatus(function_, std::move(arguments_));
  }

  bool travels() const override { return true; }

  void Encode(Encoder& encoder) const override {
    static_cast<void>(&registration_);  // so that it exists
    WriteTrampoline(&Decode, encoder);
    encoder.Write(function_);
    encoder.Write(arguments_);
  }

 private:
  static absl::StatusOr<std::unique_ptr<Call>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(F function, decoder.Read<F>());
    MP_ASSIGN_OR_RETURN(Tuple arguments, decoder.Read<Tuple>());
    return std::unique_ptr<Call>(
        new TravellingCall(std::move(function), std::move(arguments)));
  }

  static inline const TrampolineRegistration registration_{&Decode};

  F function_;
  Tuple arguments_;
};

// A call that only a forked child can make, which has all memory anyway.
template <typename F, typename Tuple>
class InheritedCall final : public Call {
 public:
  InheritedCall(F function, Tuple arguments)
      : function_(std::move(function)), arguments_(std::move(arguments)) {}

  absl::Status Run() override {
    return InvokeForStatus(function_, std::move(arguments_));
  }

  bool travels() const override { return false; }

  void Encode(Encoder& encoder) const override {
    encoder.Fail(absl::InvalidArgumentError(
        "a callable given with mp::ForkContext is for the start method fork "
        "only"));
  }

 private:
  F function_;
  Tuple arguments_;
};

// Makes a call out of a callable and arguments, whose types are checked. The
// arguments are converted to the types of the parameters here and now.
template <template <typename, typename> class Kind, typename F,
          typename... Args>
std::unique_ptr<Call> MakeCall(F&& function, Args&&... args) {
  using Function = std::decay_t<F>;
  using Tuple = typename ArgumentsOf<Function, Args...>::Tuple;
  if constexpr (CheckCall<Function, Args...>()) {
    return std::make_unique<Kind<Function, Tuple>>(
        std::forward<F>(function), Tuple(std::forward<Args>(args)...));
  }
  return nullptr;
}

// Checks that a callable and its arguments travel; one error for the first
// that does not.
template <typename F, typename Tuple>
struct CheckCallTravels;
template <typename F, typename... Args>
struct CheckCallTravels<F, std::tuple<Args...>> {
  static constexpr bool kTravels = Travels<F> && (Travels<Args> && ...);
  static constexpr void Check() {
    CheckTravels<F>();
    (CheckTravels<Args>(), ...);
  }
};

template <typename F, typename... Args>
std::unique_ptr<Call> MakeTravellingCall(F&& function, Args&&... args) {
  using Function = std::decay_t<F>;
  using Check =
      CheckCallTravels<Function,
                       typename ArgumentsOf<Function, Args...>::Tuple>;
  Check::Check();
  if constexpr (Check::kTravels) {
    return MakeCall<TravellingCall>(std::forward<F>(function),
                                    std::forward<Args>(args)...);
  } else {
    return nullptr;
  }
}

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_CALL_H_
