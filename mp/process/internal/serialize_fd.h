#ifndef MP_PROCESS_INTERNAL_SERIALIZE_FD_H_
#define MP_PROCESS_INTERNAL_SERIALIZE_FD_H_

#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/travel.h"

namespace mp {

// The receiver gets a descriptor of its own for the same open file; the
// sender's stays open.
template <>
struct Serializer<Fd> {
  static void Encode(const Fd& fd, Encoder& encoder) {
    encoder.WriteHandle(fd.get());
  }
  static absl::StatusOr<Fd> Decode(Decoder& decoder) {
    return decoder.ReadHandle();
  }
};

}  // namespace mp

#endif  // MP_PROCESS_INTERNAL_SERIALIZE_FD_H_
