#ifndef MP_IPC_INTERNAL_TYPE_FINGERPRINT_H_
#define MP_IPC_INTERNAL_TYPE_FINGERPRINT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/status_macros.h"
#include "mp/process/serializer.h"

namespace mp::internal {

// The compiler's own text of a type, between others.
template <typename T>
constexpr absl::string_view TypeText() {
  return absl::string_view(__PRETTY_FUNCTION__,
                           sizeof(__PRETTY_FUNCTION__) - 1);
}

// The name in it: what follows "T = ", to the bracket or the next parameter.
template <typename T>
constexpr absl::string_view TypeName() {
  absl::string_view text = TypeText<T>();
  text.remove_prefix(text.find("T = ") + 4);
  return text.substr(0, text.find_first_of("];"));
}

// A number that tells a type from others, the same in all programs of one
// compiler. (64-bit FNV-1a of its name: not against attack.)
template <typename T>
constexpr uint64_t TypeFingerprint() {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : TypeText<T>()) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

// Reads a fingerprint and returns kInvalidArgument unless it is that of T.
template <typename T>
absl::Status CheckTypeFingerprint(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const auto fingerprint, decoder.Read<uint64_t>());
  if (fingerprint == TypeFingerprint<T>()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "Connection::Recv: the message is of another type than ", TypeName<T>()));
}

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_TYPE_FINGERPRINT_H_
