#include "mp/process/encoder.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/process/parcel.h"

namespace mp {

void Encoder::WriteRaw(const void* bytes, size_t size) {
  if (!status_.ok()) return;
  parcel_.bytes.append(static_cast<const char*>(bytes), size);
}

void Encoder::WriteCount(uint64_t count) {
  while (count >= 0x80) {
    const char byte = static_cast<char>(count | 0x80);
    WriteRaw(&byte, 1);
    count >>= 7;
  }
  const char byte = static_cast<char>(count);
  WriteRaw(&byte, 1);
}

void Encoder::WriteString(absl::string_view bytes) {
  WriteCount(bytes.size());
  WriteRaw(bytes.data(), bytes.size());
}

void Encoder::WriteHandle(int fd) {
  if (!status_.ok()) return;
  absl::StatusOr<Fd> copy = Fd::DupOf(fd);
  if (!copy.ok()) return Fail(copy.status());
  WriteCount(parcel_.handles.size());
  parcel_.handles.push_back(*std::move(copy));
}

void Encoder::Fail(absl::Status error) {
  if (status_.ok()) status_ = std::move(error);
}

absl::StatusOr<Parcel> Encoder::Finish() && {
  if (!status_.ok()) return status_;
  return std::move(parcel_);
}

bool Encoder::Enter() {
  if (!status_.ok()) return false;
  if (depth_ == kMaxNesting) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("Encoder::Write: the value is nested more than ",
                     kMaxNesting, " levels deep")));
    return false;
  }
  ++depth_;
  return true;
}

}  // namespace mp
