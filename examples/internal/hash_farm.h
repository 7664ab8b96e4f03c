#ifndef EXAMPLES_INTERNAL_HASH_FARM_H_
#define EXAMPLES_INTERNAL_HASH_FARM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/internal/file_list.h"
#include "examples/internal/sha256_file.h"
#include "mp/process/context.h"

namespace examples {

struct HashFarmOptions {
  // How the workers are started.
  mp::Context context = {};

  // Workers at most. Must be at least 1. Where so many cannot be started there
  // are fewer.
  int processes = 1;
};

// Hashes files with a pool of workers and hands the results out in the order of
// the list.
//
// `on_result` is called once for each file, with its digest or why there is
// none; an error from it ends all. `on_tick` is called about ten times a second
// with the number of bytes read so far; so is an error from it.
//
// A worker that dies costs the file that it worked on, whose result is then
// kUnavailable, "Not hashed: ..." and how it died. Another worker takes its
// place and does the others.
//
// Errors:
//   kInvalidArgument  no process wanted.
//   kUnavailable      not even one worker can be started.
//   Those of the callbacks.
absl::Status HashFiles(
    const std::vector<ListedFile>& files, const HashFarmOptions& options,
    absl::FunctionRef<absl::Status(size_t file,
                                   const absl::StatusOr<Sha256Digest>& digest)>
        on_result,
    absl::FunctionRef<absl::Status(uint64_t done_bytes)> on_tick);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_HASH_FARM_H_
