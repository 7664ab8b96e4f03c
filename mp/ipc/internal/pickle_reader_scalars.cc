#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/pickle_reader.h"
#include "mp/ipc/internal/utf8.h"
#include "mp/ipc/object.h"

namespace mp::internal {

// Of 1 and 2 bytes they have no sign.
absl::Status PickleReader::PushInt(size_t bytes) {
  MP_ASSIGN_OR_RETURN(const uint64_t number, input_.TakeNumber(bytes));
  if (bytes < 4) return Push(number);
  return Push(static_cast<int32_t>(number));
}

absl::Status PickleReader::PushLong(size_t length_bytes) {
  MP_ASSIGN_OR_RETURN(const absl::string_view bytes,
                      input_.TakeText(length_bytes));
  return Push(Object::IntFromBytes(bytes));
}

// The highest byte comes first, unlike elsewhere.
absl::Status PickleReader::PushFloat() {
  MP_ASSIGN_OR_RETURN(const absl::string_view bytes, input_.Take(8));
  uint64_t bits = 0;
  for (const char byte : bytes) bits = bits << 8 | static_cast<uint8_t>(byte);
  return Push(std::bit_cast<double>(bits));
}

absl::Status PickleReader::PushStr(size_t length_bytes) {
  MP_ASSIGN_OR_RETURN(const absl::string_view text,
                      input_.TakeText(length_bytes));
  const size_t bad = FindBadUtf8(text);
  if (bad != absl::string_view::npos) {
    return input_.Error(
        absl::StrCat("a str that is not UTF-8 at its byte ", bad));
  }
  return Push(text);
}

// Python 2's str is text or bytes. CPython 3 takes it for ASCII by default.
absl::Status PickleReader::PushAsciiStr(size_t length_bytes) {
  MP_ASSIGN_OR_RETURN(const absl::string_view text,
                      input_.TakeText(length_bytes));
  for (const char letter : text) {
    if (!absl::ascii_isascii(static_cast<unsigned char>(letter))) {
      return input_.Error("a str of Python 2 that is not ASCII");
    }
  }
  return Push(text);
}

absl::Status PickleReader::PushBytes(Object::Kind kind, size_t length_bytes) {
  MP_ASSIGN_OR_RETURN(const absl::string_view text,
                      input_.TakeText(length_bytes));
  std::string bytes(text);
  return Push(kind == Object::Kind::kBytes
                  ? Object::Bytes(std::move(bytes))
                  : Object::ByteArray(std::move(bytes)));
}

}  // namespace mp::internal
