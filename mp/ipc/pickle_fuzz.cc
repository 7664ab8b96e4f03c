// Reads pickles that anybody may have made up.
//
// What can be read can be written, and read again as the same; printed, hashed
// and compared. Limits are low, so that each input is quick.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/ipc/object.h"
#include "mp/ipc/pickle.h"

namespace mp {
namespace {

constexpr PickleLimits kLimits = {.max_bytes = 1 << 20,
                                  .max_objects = 20'000,
                                  .max_text_bytes = 1 << 20,
                                  .max_depth = 500};

[[noreturn]] void Die(absl::string_view complaint) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(complaint.size()),
               complaint.data());
  std::abort();
}

void CheckRefusal(const absl::Status& status) {
  if (!absl::IsDataLoss(status) && !absl::IsResourceExhausted(status)) {
    Die(absl::StrCat("refused, but with ", status.ToString()));
  }
  if (!absl::StartsWith(status.message(), "LoadPickle: at byte ")) {
    Die(absl::StrCat("refused without the place: ", status.ToString()));
  }
}

// With other limits: what was read may take more bytes in another protocol.
std::string Write(const Object& object) {
  const absl::StatusOr<std::string> pickle = DumpPickle(object);
  if (!pickle.ok()) {
    Die(absl::StrCat("cannot be written: ", pickle.status().ToString()));
  }
  return *pickle;
}

void Try(absl::string_view bytes) {
  const absl::StatusOr<Object> object = LoadPickle(bytes, kLimits);
  if (!object.ok()) return CheckRefusal(object.status());
  const std::string pickle = Write(*object);
  const absl::StatusOr<Object> again = LoadPickle(pickle);
  if (!again.ok()) {
    Die(absl::StrCat("cannot be read again: ", again.status().ToString()));
  }
  const std::string repr = object->Repr();
  if (again->Repr() != repr) Die("is another one when read again");
  if (Write(*again) != pickle) Die("is written in another way again");
  // A NaN is not equal to itself.
  const bool equal = *again == *object;
  if (!equal && !absl::StrContains(repr, "nan")) Die("is not equal again");
  if (equal && absl::HashOf(*again) != absl::HashOf(*object)) {
    Die("has another hash again");
  }
}

}  // namespace
}  // namespace mp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mp::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
