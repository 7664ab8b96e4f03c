#include "examples/internal/checksum_output.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "examples/internal/progress_bar.h"
#include "examples/internal/sha256_file.h"
#include "examples/internal/sha256sum_line.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace examples {
namespace {

constexpr size_t kHeldBackBytes = 32 << 10;

// Returns a name as a terminal can bear it: with control characters escaped.
std::string Printable(absl::string_view name) {
  const bool is_harmful =
      std::any_of(name.begin(), name.end(), absl::ascii_iscntrl);
  return is_harmful ? absl::Utf8SafeCEscape(name) : std::string(name);
}

}  // namespace

ChecksumOutput::ChecksumOutput(uint64_t total_bytes)
    : total_bytes_(total_bytes), start_(absl::Now()), bar_(STDERR_FILENO) {}

absl::Status ChecksumOutput::PrintDigest(absl::string_view name,
                                         const Sha256Digest& digest) {
  held_back_ += Sha256sumLine(digest, name);
  return held_back_.size() < kHeldBackBytes ? absl::OkStatus() : Flush();
}

absl::Status ChecksumOutput::Complain(absl::string_view name,
                                      absl::string_view problem) {
  has_complained_ = true;
  MP_RETURN_IF_ERROR(Flush());
  WriteComplaint(absl::StrCat(Printable(name), ": ", problem));
  return absl::OkStatus();
}

absl::Status ChecksumOutput::Tick(uint64_t done_bytes) {
  if (!held_back_.empty()) MP_RETURN_IF_ERROR(Flush());
  bar_.Draw({done_bytes, total_bytes_, absl::Now() - start_});
  return absl::OkStatus();
}

absl::Status ChecksumOutput::Flush() {
  bar_.Erase();
  const absl::Status written = mp::WriteAll(STDOUT_FILENO, held_back_);
  held_back_.clear();
  if (written.ok()) return absl::OkStatus();
  return absl::Status(written.code(),
                      absl::StrCat("stdout: ", written.message()));
}

void WriteComplaint(absl::string_view message) {
  mp::WriteAll(STDERR_FILENO, absl::StrCat("checksum: ", message, "\n"))
      .IgnoreError();  // there is no other place to complain in
}

}  // namespace examples
