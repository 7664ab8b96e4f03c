#include "mp/process/internal/call.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/trampoline.h"
#include "mp/process/parcel.h"

namespace mp::internal {

absl::StatusOr<Parcel> EncodeCall(const Call& call) {
  Encoder encoder;
  call.Encode(encoder);
  return std::move(encoder).Finish();
}

absl::StatusOr<std::unique_ptr<Call>> ReadCall(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const Trampoline trampoline, ReadTrampoline(decoder));
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Call> call, trampoline(decoder));
  MP_RETURN_IF_ERROR(decoder.ExpectEnd());
  return call;
}

}  // namespace mp::internal
