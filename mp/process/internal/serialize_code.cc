#include "mp/process/internal/serialize_code.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/image.h"
#include "mp/process/internal/serialize_std.h"

namespace mp::internal {
namespace {

// Where the ABI keeps the mark of a virtual function: the lowest bit of the
// address, which on Arm belongs to the instruction set, and so of the
// adjustment there. (Procedure call standards of Arm, "C++ ABI", 3.2.1.)
bool IsVirtual(const MemberFunctionBits& bits) {
#if defined(__arm__) || defined(__aarch64__)
  return (bits.adjustment & 1) != 0;
#else
  return (reinterpret_cast<uintptr_t>(bits.function) & 1) != 0;
#endif
}

}  // namespace

void WriteCode(const void* address, Encoder& encoder) {
  const absl::StatusOr<CodeLocation> location =
      LocateCode(address, encoder.receiver() == Encoder::Receiver::kNewProcess);
  if (!location.ok()) return encoder.Fail(location.status());
  encoder.WriteString(location->image_id);
  encoder.WriteCount(location->offset);
}

absl::StatusOr<const void*> ReadCode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const absl::string_view image_id, decoder.ReadString());
  MP_ASSIGN_OR_RETURN(const uint64_t offset, decoder.ReadNumber());
  return FindCode({std::string(image_id), offset});
}

void WriteMemberFunction(const MemberFunctionBits& bits, Encoder& encoder) {
  if (IsVirtual(bits)) {
    return encoder.Fail(absl::InvalidArgumentError(
        "a pointer to a virtual member function cannot travel; pass a lambda "
        "that calls it: [](const T& object) { object.Run(); }"));
  }
  WriteCode(bits.function, encoder);
  encoder.Write(bits.adjustment);
}

absl::StatusOr<MemberFunctionBits> ReadMemberFunction(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const void* const function, ReadCode(decoder));
  MP_ASSIGN_OR_RETURN(const auto adjustment, decoder.Read<ptrdiff_t>());
  const MemberFunctionBits bits = {function, adjustment};
  if (IsVirtual(bits)) {
    return absl::DataLossError(
        "Decoder: a pointer to a virtual member function");
  }
  return bits;
}

}  // namespace mp::internal
