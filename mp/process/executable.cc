#include "mp/process/executable.h"

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mp/process/internal/self_image.h"

namespace mp {

absl::Status SetExecutable(absl::string_view path) {
  return internal::SetSelfExecutable(path);
}

}  // namespace mp
