#ifndef MP_IPC_INTERNAL_QUEUE_TEST_UTIL_H_
#define MP_IPC_INTERNAL_QUEUE_TEST_UTIL_H_

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"

// Short words for the tests of QueueCore.

namespace mp::internal {

// Long enough for what must happen, on a busy machine too.
inline Deadline Long() { return Deadline(absl::Seconds(60)); }
inline Deadline Now() { return Deadline(absl::ZeroDuration()); }

inline std::shared_ptr<QueueCore> MakeQueue(const QueueOptions& options = {}) {
  auto queue = QueueCore::Create(options);
  MP_CHECK_OK(queue.status());
  return *std::move(queue);
}

inline absl::Status PutText(QueueCore& queue, absl::string_view text,
                            const Deadline& deadline = Long()) {
  return queue.Put(absl::MakeConstSpan(&text, 1), /*flags=*/0, deadline);
}

inline absl::StatusOr<std::string> GetText(QueueCore& queue,
                                           const Deadline& deadline = Long()) {
  std::string got;
  MP_RETURN_IF_ERROR(
      queue.Get(deadline, [&](absl::string_view bytes, uint32_t) {
        got = std::string(bytes);
        return absl::OkStatus();
      }));
  return got;
}

template <typename T>
absl::Status PutValue(QueueCore& queue, const T& value,
                      const Deadline& deadline = Long()) {
  return PutText(queue, {reinterpret_cast<const char*>(&value), sizeof(value)},
                 deadline);
}

// How much memory it takes up.
inline uint64_t MemoryOf(const QueueCore& queue) {
  struct stat info;
  return fstat(queue.memory_fd(), &info) == 0
             ? static_cast<uint64_t>(info.st_blocks) * 512
             : UINT64_MAX;
}

// What an idle queue takes up at most: its head, places for members and their
// tallies, and a segment that is kept.
inline constexpr uint64_t kIdleBytes =
    (uint64_t{4} << 20) + (uint64_t{256} << 10);

// A T that the children of a test share with it. It stays.
template <typename T>
T& MakeShared() {
  void* const memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  MP_CHECK_OK(memory != MAP_FAILED ? absl::OkStatus()
                                   : absl::ResourceExhaustedError("mmap"));
  return *new (memory) T();
}

}  // namespace mp::internal

#endif  // MP_IPC_INTERNAL_QUEUE_TEST_UTIL_H_
