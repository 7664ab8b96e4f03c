#include "mp/base/format_head.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mp/base/sanitizers.h"

namespace mp {

FormatHead FormatHead::Of(absl::string_view magic, uint32_t version,
                          uint32_t head_bytes) {
  FormatHead head = {};
  std::copy_n(magic.data(), std::min(magic.size(), sizeof(head.magic) - 1),
              head.magic);
  head.version = version;
  head.word_bytes = sizeof(void*);
  head.build = BuildMode();
  head.head_bytes = head_bytes;
  return head;
}

absl::Status CheckFormat(const FormatHead& head, const FormatHead& own,
                         absl::string_view operation, absl::string_view kind) {
  const auto is_none = [&](absl::string_view why) {
    return absl::DataLossError(
        absl::StrCat(operation, ": the descriptor is of no ", kind, ": ", why));
  };
  const auto built_otherwise = [&](absl::string_view what,
                                   absl::string_view theirs,
                                   absl::string_view ours) {
    return absl::FailedPreconditionError(
        absl::StrCat(operation, ": the ", kind, " was made by a program with ",
                     what, " ", theirs, ", this one has ", ours));
  };
  if (std::memcmp(head.magic, own.magic, sizeof(head.magic)) != 0) {
    return is_none(absl::StrCat("it does not begin with \"", own.magic, "\""));
  }
  if (head.version != own.version) {
    return built_otherwise("version", absl::StrCat(head.version),
                           absl::StrCat(own.version));
  }
  if (head.word_bytes != own.word_bytes) {
    return built_otherwise("pointers of bytes:", absl::StrCat(head.word_bytes),
                           absl::StrCat(own.word_bytes));
  }
  if (head.build != own.build) {
    return built_otherwise("the build mode", BuildModeName(head.build),
                           BuildModeName(own.build));
  }
  if (head.head_bytes != own.head_bytes) {
    return is_none("its head does not say how long it is");
  }
  return absl::OkStatus();
}

uint32_t BuildMode() {
#ifdef NDEBUG
  constexpr bool kDebug = false;
#else
  constexpr bool kDebug = true;
#endif
  return (kDebug ? 1u : 0u) | (kAddressSanitizer ? 2u : 0u) |
         (kThreadSanitizer ? 4u : 0u);
}

std::string BuildModeName(uint32_t mode) {
  if (mode > 7) return absl::StrCat("number ", mode);
  return absl::StrCat((mode & 1) != 0 ? "debug" : "optimized",
                      (mode & 2) != 0 ? " with address sanitizer" : "",
                      (mode & 4) != 0 ? " with thread sanitizer" : "");
}

}  // namespace mp
