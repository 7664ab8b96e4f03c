#include "mp/ipc/pickle.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/pickle_reader.h"
#include "mp/ipc/internal/pickle_writer.h"
#include "mp/ipc/object.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"

namespace mp {
namespace {

absl::Status CheckLimit(absl::string_view what, uint64_t value, uint64_t limit,
                        absl::string_view name) {
  if (value <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("DumpPickle: ", what, " is ", value,
                   ", PickleLimits::", name, " is ", limit));
}

}  // namespace

absl::StatusOr<std::string> DumpPickle(const Object& object,
                                       const PickleLimits& limits) {
  const Object::Extent extent = object.extent();
  MP_RETURN_IF_ERROR(
      CheckLimit("the depth", extent.depth, limits.max_depth, "max_depth"));
  MP_RETURN_IF_ERROR(CheckLimit("the number of values", extent.objects,
                                limits.max_objects, "max_objects"));
  MP_RETURN_IF_ERROR(CheckLimit("the text in bytes", extent.text_bytes,
                                limits.max_text_bytes, "max_text_bytes"));
  MP_ASSIGN_OR_RETURN(std::string pickle,
                      internal::PickleWriter().Write(object));
  MP_RETURN_IF_ERROR(CheckLimit("the pickle's size in bytes", pickle.size(),
                                limits.max_bytes, "max_bytes"));
  return pickle;
}

absl::StatusOr<Object> LoadPickle(absl::string_view pickle,
                                  const PickleLimits& limits) {
  return internal::PickleReader(pickle, limits).Read();
}

void Serializer<Object>::Encode(const Object& object, Encoder& encoder) {
  const absl::StatusOr<std::string> pickle = DumpPickle(object);
  if (pickle.ok()) {
    encoder.WriteString(*pickle);
  } else {
    encoder.Fail(pickle.status());
  }
}

absl::StatusOr<Object> Serializer<Object>::Decode(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const absl::string_view pickle, decoder.ReadString());
  return LoadPickle(pickle);
}

}  // namespace mp
