#ifndef MP_POOL_INTERNAL_JOB_H_
#define MP_POOL_INTERNAL_JOB_H_

#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/function_name.h"
#include "mp/pool/internal/outcome.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/runner.h"
#include "mp/process/internal/trampoline.h"
#include "mp/process/serializer.h"

namespace mp::internal {

// A function that workers call over and over, with the arguments of one item
// each time. It travels as a Call does, once to each worker that needs it.
class Job : public Call {
 public:
  // A job has no arguments of its own.
  absl::Status Run() final {
    return absl::InternalError("a job is run item by item");
  }
  bool travels() const final { return true; }

  // What it calls.
  virtual FunctionId function_id() const { return {}; }

  // Reads the arguments of the next item, and keeps them.
  //
  // Errors: those of Decoder::Read(). Nothing that follows can be read.
  virtual absl::Status ReadNext(Decoder& items) = 0;

  // Calls the function with them, once. What it throws is a status.
  virtual Outcome RunNext() = 0;
};

// What a function that returns an R gives to who asks for its result: nothing
// but a status for void and absl::Status, a T for absl::StatusOr<T>.
template <typename R>
struct TaskValue {
  using Type = R;
};
template <>
struct TaskValue<absl::Status> {
  using Type = void;
};
template <typename T>
struct TaskValue<absl::StatusOr<T>> {
  using Type = T;
};
template <typename F, typename Tuple>
struct TaskResultOf;
template <typename F, typename... Args>
struct TaskResultOf<F, std::tuple<Args...>> {
  using Type = typename TaskValue<
      std::remove_cvref_t<std::invoke_result_t<F&, Args...>>>::Type;
};

// The status of something that failed, told as what it was.
inline absl::Status Explain(absl::string_view what,
                            const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(what, ": ", status.message()));
}

// The value of a result, in bytes.
template <typename T>
Outcome EncodeValue(const T& value) {
  Outcome outcome = Parcel();
  const absl::Status written = RunCatching([&] {
    Encoder encoder;
    encoder.Write(value);
    outcome = std::move(encoder).Finish();
    return outcome.status();
  });
  if (written.ok()) return outcome;
  return Explain("the result cannot be sent", written);
}

template <typename F, typename Tuple>
class TravellingJob final : public Job {
 public:
  explicit TravellingJob(F function) : function_(std::move(function)) {}

  void Encode(Encoder& encoder) const override {
    static_cast<void>(&registration_);  // so that it exists
    WriteTrampoline(&Decode, encoder);
    encoder.Write(function_);
  }

  FunctionId function_id() const override {
    return FunctionIdOf<F>::Of(function_);
  }

  absl::Status ReadNext(Decoder& items) override {
    MP_ASSIGN_OR_RETURN(arguments_, items.Read<Tuple>());
    return absl::OkStatus();
  }

  Outcome RunNext() override {
    Outcome outcome = Parcel();
    const absl::Status status = RunCatching([&] {
      outcome = Invoke();
      return absl::OkStatus();
    });
    arguments_.reset();
    if (!status.ok()) return status;
    return outcome;
  }

 private:
  static absl::StatusOr<std::unique_ptr<Call>> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(F function, decoder.Read<F>());
    return std::unique_ptr<Call>(new TravellingJob(std::move(function)));
  }

  Outcome Invoke() {
    const auto invoke = [&]() -> decltype(auto) {
      return std::apply(
          [&](auto&... argument) -> decltype(auto) {
            return std::invoke(function_, std::move(argument)...);
          },
          *arguments_);
    };
    using R = std::remove_cvref_t<decltype(invoke())>;
    if constexpr (std::is_void_v<R>) {
      invoke();
      return Parcel();
    } else if constexpr (std::is_same_v<R, absl::Status>) {
      MP_RETURN_IF_ERROR(invoke());
      return Parcel();
    } else if constexpr (kIsStatusOr<R>) {
      MP_ASSIGN_OR_RETURN(const auto value, invoke());
      return EncodeValue(value);
    } else {
      return EncodeValue<R>(invoke());
    }
  }

  static inline const TrampolineRegistration registration_{&Decode};

  F function_;
  std::optional<Tuple> arguments_;
};

// Reads a job that Job::Encode() wrote.
absl::StatusOr<std::unique_ptr<Job>> ReadJob(Decoder& decoder);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_JOB_H_
