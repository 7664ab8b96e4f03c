#ifndef MP_PROCESS_INTERNAL_OBJECT_CALL_H_
#define MP_PROCESS_INTERNAL_OBJECT_CALL_H_

#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/fields.h"
#include "mp/process/internal/call.h"
#include "mp/process/internal/trampoline.h"
#include "mp/process/serializer.h"

// A call of an object's Run(), where the object itself is the process.
namespace mp::internal {

// Whether an object that this thread is making comes from another process.
bool ObjectIsReceived();

// Returns the last part of a class's name.
std::string ClassName(const std::type_info& type);

class ReceivingScope {
 public:
  ReceivingScope();
  ~ReceivingScope();
  ReceivingScope(const ReceivingScope&) = delete;
  ReceivingScope& operator=(const ReceivingScope&) = delete;
};

template <typename Object>
absl::Status RunObject(Object& object) {
  auto run = [&]() -> decltype(auto) { return object.Run(); };
  return InvokeForStatus(run, std::tuple<>());
}

// At the sender: the object is somebody else's, and may still change.
template <typename Object>
class ObjectCall final : public Call {
 public:
  explicit ObjectCall(Object& object) : object_(object) {}

  absl::Status Run() override { return RunObject(object_); }
  bool travels() const override { return true; }

  void Encode(Encoder& encoder) const override {
    static_cast<void>(&registration_);  // so that it exists
    WriteTrampoline(&Decode, encoder);
    std::apply([&](const auto&... field) { (encoder.Write(field), ...); },
               FieldAccess::Of(object_));
  }

 private:
  // At the receiver.
  class Received final : public Call {
   public:
    explicit Received(std::unique_ptr<Object> object)
        : object_(std::move(object)) {}
    absl::Status Run() override { return RunObject(*object_); }
    bool travels() const override { return false; }
    void Encode(Encoder& encoder) const override {
      encoder.Fail(absl::InvalidArgumentError("it has been sent already"));
    }

   private:
    const std::unique_ptr<Object> object_;
  };

  template <typename Field>
  static absl::Status ReadField(Decoder& decoder, Field& field) {
    MP_ASSIGN_OR_RETURN(field, decoder.Read<Field>());
    return absl::OkStatus();
  }

  static absl::StatusOr<std::unique_ptr<Call>> Decode(Decoder& decoder) {
    std::unique_ptr<Object> object;
    {
      ReceivingScope scope;
      object = std::make_unique<Object>();
    }
    absl::Status status;
    std::apply(
        [&](auto&... field) {
          ((status.ok() ? status.Update(ReadField(decoder, field)) : void()),
           ...);
        },
        FieldAccess::Of(*object));
    MP_RETURN_IF_ERROR(status);
    return std::unique_ptr<Call>(new Received(std::move(object)));
  }

  static inline const TrampolineRegistration registration_{&Decode};

  Object& object_;
};

template <typename Fields>
struct CheckFieldsTravel;
template <typename... Fields>
struct CheckFieldsTravel<std::tuple<Fields&...>> {
  static constexpr void Check() { (CheckTravels<Fields>(), ...); }
};

template <typename Object>
std::unique_ptr<Call> MakeObjectCall(Object& object) {
  constexpr bool kDeclared = HasFields<Object>;
  constexpr bool kRuns = requires { object.Run(); };
  constexpr bool kDefault = std::is_default_constructible_v<Object>;
  static_assert(kDeclared,
                "mp: a process class says which of its fields travel, with "
                "MP_FIELDS(a, b), or MP_FIELDS() if it has none");
  static_assert(kRuns, "mp: a process class has a public Run()");
  static_assert(kDefault,
                "mp: a process class has a default constructor, with which "
                "the new process makes its own");
  if constexpr (kDeclared && kRuns && kDefault) {
    CheckFieldsTravel<decltype(FieldAccess::Of(object))>::Check();
    return std::make_unique<ObjectCall<Object>>(object);
  } else {
    return nullptr;
  }
}

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_OBJECT_CALL_H_
