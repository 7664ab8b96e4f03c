#ifndef MP_POOL_INTERNAL_TRICKY_VALUE_H_
#define MP_POOL_INTERNAL_TRICKY_VALUE_H_

#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/serializer.h"

namespace mp {
namespace internal {

// What goes wrong.
enum class Trick : uint8_t {
  kNone,
  kError,  // kDataLoss, "tricky"
  kThrow,  // std::runtime_error, "tricky"
  kExit,   // of the process, with kTrickExitCode
  kKill,   // by SIGKILL
};

inline constexpr int kTrickExitCode = 7;

// Plays it. Returns the error of a trick that is one.
inline absl::Status Play(Trick trick) {
  switch (trick) {
    case Trick::kNone:
      break;
    case Trick::kError:
      return absl::DataLossError("tricky");
    case Trick::kThrow:
      throw std::runtime_error("tricky");
    case Trick::kExit:
      _exit(kTrickExitCode);
    case Trick::kKill:
      raise(SIGKILL);
  }
  return absl::OkStatus();
}

// A value that fails on its way: where it is written, or where it is read.
struct TrickyValue {
  Trick at_encode = Trick::kNone;
  Trick at_decode = Trick::kNone;
};

}  // namespace internal

template <>
struct Serializer<internal::TrickyValue> {
  static void Encode(const internal::TrickyValue& value, Encoder& encoder) {
    const absl::Status played = internal::Play(value.at_encode);
    if (!played.ok()) encoder.Fail(played);
    encoder.Write(value.at_decode);
  }
  static absl::StatusOr<internal::TrickyValue> Decode(Decoder& decoder) {
    MP_ASSIGN_OR_RETURN(const auto at_decode, decoder.Read<internal::Trick>());
    MP_RETURN_IF_ERROR(internal::Play(at_decode));
    return internal::TrickyValue{.at_decode = at_decode};
  }
};

}  // namespace mp

#endif  // MP_POOL_INTERNAL_TRICKY_VALUE_H_
