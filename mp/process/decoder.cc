#include "mp/process/decoder.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/process/encoder.h"

namespace mp {

absl::Status Decoder::ReadRaw(void* into, size_t size) {
  if (size > left_.size()) {
    return absl::DataLossError(absl::StrCat("Decoder: the value needs ", size,
                                            " more bytes, ", left_.size(),
                                            " are left"));
  }
  if (size > 0) std::memcpy(into, left_.data(), size);
  left_.remove_prefix(size);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Decoder::ReadNumber() {
  uint64_t number = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    unsigned char byte;
    MP_RETURN_IF_ERROR(ReadRaw(&byte, 1));
    const uint64_t bits = byte & 0x7f;
    if (shift == 63 && bits > 1) break;
    number |= bits << shift;
    if (byte < 0x80) return number;
  }
  return absl::DataLossError("Decoder: a number of more than 64 bits");
}

absl::StatusOr<size_t> Decoder::ReadCount() {
  MP_ASSIGN_OR_RETURN(const uint64_t count, ReadNumber());
  if (count > left_.size()) {
    return absl::DataLossError(absl::StrCat("Decoder: a count of ", count,
                                            " in ", left_.size(), " bytes"));
  }
  return static_cast<size_t>(count);
}

absl::StatusOr<absl::string_view> Decoder::ReadString() {
  MP_ASSIGN_OR_RETURN(const size_t size, ReadCount());
  const absl::string_view text = left_.substr(0, size);
  left_.remove_prefix(size);
  return text;
}

absl::StatusOr<Fd> Decoder::ReadHandle() {
  MP_ASSIGN_OR_RETURN(const uint64_t index, ReadNumber());
  if (index >= parcel_.handles.size() || !parcel_.handles[index].is_open()) {
    return absl::DataLossError(absl::StrCat("Decoder: descriptor ", index,
                                            " of ", parcel_.handles.size(),
                                            " is not there or taken"));
  }
  return std::move(parcel_.handles[index]);
}

absl::Status Decoder::ExpectEnd() const {
  if (left_.empty()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("Decoder: ", left_.size(), " bytes after the last value"));
}

bool Decoder::Enter() {
  if (depth_ == kMaxNesting) return false;
  ++depth_;
  return true;
}

absl::Status Decoder::TooDeep() {
  return absl::DataLossError(absl::StrCat(
      "Decoder: the value is nested more than ", kMaxNesting, " levels deep"));
}

}  // namespace mp
