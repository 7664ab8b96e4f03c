#ifndef EXAMPLES_INTERNAL_HASH_WORKER_H_
#define EXAMPLES_INTERNAL_HASH_WORKER_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/internal/sha256_file.h"
#include "mp/ipc/connection.h"
#include "mp/process/fields.h"

namespace examples {

// To a worker: hash these, in this order. An empty one says that this was all.
struct HashBatch {
  std::vector<std::string> files;
  MP_FIELDS(files)
};

// From a worker: one when it begins, one every now and then in a long file, and
// one at the end of each file, in the order of the batches.
struct HashReport {
  // Read since the last report.
  uint64_t bytes = 0;
  // At the end of a file: its digest, or why there is none.
  std::optional<absl::StatusOr<Sha256Digest>> result;
  MP_FIELDS(bytes, result)
};

// Hashes the files that it is told to, one report for each, until it is told
// that this was all, or its owner closes the connection or ends. It notices
// that also within a file.
//
// It is what a worker runs; `owner` is the process that started it. Under the
// start method fork, the end of `owner` cannot be seen in the connection, of
// which all later workers hold the owner's end too.
absl::Status RunHashWorker(mp::Connection connection, pid_t owner);

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_HASH_WORKER_H_
