#include "examples/internal/hash_farm.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "examples/internal/file_list.h"
#include "examples/internal/sha256_file.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/pool/current_task.h"
#include "mp/pool/pool.h"
#include "mp/pool/pool_options.h"
#include "mp/process/bind.h"
#include "mp/process/fields.h"
#include "mp/sharedmem/raw_value.h"

namespace examples {
namespace {

// A chunk is small enough to keep all workers busy to the end, and large enough
// to make its message cheap.
constexpr size_t kMaxChunkFiles = 32;
constexpr size_t kChunksPerWorker = 8;

constexpr absl::Duration kTick = absl::Milliseconds(100);

// How much all workers have read.
using BytesRead = mp::RawValue<std::atomic<uint64_t>>;

// What a task returns. That there is no digest is no failure of the task.
struct Hashed {
  absl::StatusOr<Sha256Digest> digest;
  MP_FIELDS(digest)
};

// The task: runs in a worker, once for each file.
absl::StatusOr<Hashed> HashFile(const BytesRead& read,
                                const std::string& name) {
  thread_local absl::StatusOr<Sha256FileHasher> hasher =
      Sha256FileHasher::Create();
  MP_RETURN_IF_ERROR(hasher.status());
  return Hashed{hasher->Hash(name, [&](size_t bytes) {
    read->fetch_add(bytes, std::memory_order_relaxed);
    return mp::TaskIsInterrupted() ? absl::CancelledError("given up")
                                   : absl::OkStatus();
  })};
}

// Starts so many workers, or as many as can be had.
absl::StatusOr<mp::Pool> CreatePool(const HashFarmOptions& options,
                                    int processes) {
  while (true) {
    absl::StatusOr<mp::Pool> pool =
        mp::Pool::Create({.processes = processes,
                          .context = options.context,
                          .name = "HashWorker"});
    if (pool.ok() || processes == 1) return pool;
    processes /= 2;
  }
}

// The first line of a status that may have a stack below it.
absl::Status NotHashed(const absl::Status& why) {
  const absl::string_view message = why.message();
  return absl::Status(
      why.code(),
      absl::StrCat("Not hashed: ", message.substr(0, message.find('\n'))));
}

}  // namespace

absl::Status HashFiles(
    const std::vector<ListedFile>& files, const HashFarmOptions& options,
    absl::FunctionRef<absl::Status(size_t, const absl::StatusOr<Sha256Digest>&)>
        on_result,
    absl::FunctionRef<absl::Status(uint64_t)> on_tick) {
  if (options.processes < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "processes is ", options.processes, ", at least 1 is needed"));
  }
  if (files.empty()) return absl::OkStatus();
  const size_t workers =
      std::min(files.size(), static_cast<size_t>(options.processes));
  MP_ASSIGN_OR_RETURN(mp::Pool pool,
                      CreatePool(options, static_cast<int>(workers)));
  MP_ASSIGN_OR_RETURN(const BytesRead read, BytesRead::Create(0));

  std::vector<std::string> names;
  names.reserve(files.size());
  for (const ListedFile& file : files) names.push_back(file.name);
  auto results = pool.Imap(
      mp::Bind(HashFile, read), std::move(names),
      {.chunk_size = std::clamp<size_t>(
           files.size() / (workers * kChunksPerWorker), 1, kMaxChunkFiles),
       // One long file holds back the results of others, but not the work.
       .buffer_size = files.size()});
  mp::Deadline next_tick(kTick);
  for (size_t file = 0; file < files.size();) {
    if (next_tick.Expired()) {
      next_tick = mp::Deadline(kTick);
      MP_RETURN_IF_ERROR(on_tick(*read));
    }
    std::optional<absl::StatusOr<Hashed>> hashed =
        results.Next(next_tick.Remaining());
    if (!hashed.has_value()) return absl::InternalError("too few results");
    if (absl::IsDeadlineExceeded(hashed->status())) continue;
    MP_RETURN_IF_ERROR(on_result(file++, hashed->ok()
                                             ? (*hashed)->digest
                                             : NotHashed(hashed->status())));
  }
  return absl::OkStatus();
}

}  // namespace examples
