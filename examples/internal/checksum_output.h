#ifndef EXAMPLES_INTERNAL_CHECKSUM_OUTPUT_H_
#define EXAMPLES_INTERNAL_CHECKSUM_OUTPUT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "examples/internal/progress_bar.h"
#include "examples/internal/sha256_file.h"

namespace examples {

// What checksum writes: digests on stdout, complaints and the progress bar on
// stderr, in the order of the calls even if both are one terminal.
//
// Digests are held back until there are many of them, or Tick().
//
// Errors: those of writing to stdout, of any method that returns a status.
class ChecksumOutput {
 public:
  explicit ChecksumOutput(uint64_t total_bytes);

  absl::Status PrintDigest(absl::string_view name, const Sha256Digest& digest);

  // Says why a file or folder could not be read.
  absl::Status Complain(absl::string_view name, absl::string_view problem);

  // Shows how far the job is, if stderr is a terminal.
  absl::Status Tick(uint64_t done_bytes);

  // Writes what has been held back, and takes the progress bar away.
  absl::Status Flush();

  bool has_complained() const { return has_complained_; }

 private:
  const uint64_t total_bytes_;
  const absl::Time start_;
  ProgressBar bar_;
  std::string held_back_;
  bool has_complained_ = false;
};

// Writes "checksum: MESSAGE" to stderr.
void WriteComplaint(absl::string_view message);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_CHECKSUM_OUTPUT_H_
