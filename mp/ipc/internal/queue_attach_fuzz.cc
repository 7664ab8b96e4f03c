// Uses a queue whose memory anybody may have written.
//
// An input is what is written into the memory of a queue with a few messages:
// pieces of 2 bytes of offset in units of 8, 1 byte of how many bytes follow
// (modulo 33), and those bytes. Offsets from 32768 on are those in the first
// segment, below them those in the head. After the first piece that has the
// offset 65535, what the rest says is written only after the queue is attached.
//
// Every call must come back with a status. What is said to be held by this very
// process, or to be waited for, is waited for, so no lock says that.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/status_macros.h"
#include "mp/ipc/internal/queue_core.h"
#include "mp/ipc/internal/queue_layout.h"

namespace mp::internal {
namespace {

constexpr size_t kInSegment = 32768;
constexpr size_t kAttachNow = 65535;

[[noreturn]] void Die(absl::string_view complaint) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(complaint.size()),
               complaint.data());
  std::abort();
}

Deadline AtOnce() { return Deadline(absl::ZeroDuration()); }

std::shared_ptr<QueueCore> Make() {
  auto queue = QueueCore::Create({});
  MP_CHECK_OK(queue.status());
  for (const absl::string_view text : {"one", "two", "the third"}) {
    MP_CHECK_OK((*queue)->Put({&text, 1}, 1, AtOnce()));
  }
  return *std::move(queue);
}

// Where in the file a piece goes.
off_t PlaceOf(size_t offset, uint64_t window_bytes) {
  if (offset < kInSegment) return static_cast<off_t>(offset * 8);
  return static_cast<off_t>(window_bytes + (offset - kInSegment) * 8);
}

bool IsOfALock(off_t place, size_t bytes) {
  const auto is_in = [&](size_t lock) {
    return place < static_cast<off_t>(lock + sizeof(LockWordState)) &&
           place + static_cast<off_t>(bytes) > static_cast<off_t>(lock);
  };
  return is_in(offsetof(QueueHead, put)) || is_in(offsetof(QueueHead, get)) ||
         is_in(offsetof(QueueHead, tasks));
}

// Writes pieces up to the one that says that it is time to attach.
void Damage(const QueueCore& queue, absl::string_view& input,
            uint64_t window_bytes) {
  while (input.size() >= 3) {
    uint16_t offset;
    std::memcpy(&offset, input.data(), sizeof(offset));
    const size_t wanted = static_cast<uint8_t>(input[2]) % 33;
    input.remove_prefix(3);
    if (offset == kAttachNow) return;
    const size_t bytes = std::min(wanted, input.size());
    const off_t place = PlaceOf(offset, window_bytes);
    if (!IsOfALock(place, bytes)) {
      (void)!pwrite(queue.memory_fd(), input.data(), bytes, place);
    }
    input.remove_prefix(bytes);
  }
}

void Expect(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return;
    default:
      Die(absl::StrCat("an unexpected ", status.ToString()));
  }
}

// Reads all of a message, as its bytes must be there.
absl::Status Read(absl::string_view bytes, uint32_t) {
  volatile char sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 64) sum = sum + bytes[i];
  return absl::OkStatus();
}

void Use(QueueCore& queue) {
  const std::string large(70000, 'x');
  for (int round = 0; round < 3; ++round) {
    Expect(queue.Get(AtOnce(), Read));
    for (const absl::string_view text :
         {absl::string_view("four"), absl::string_view(large)}) {
      Expect(queue.Put({&text, 1}, 2, AtOnce()));
    }
    Expect(queue.GetBatch(3, AtOnce(), Read).status());
    (void)queue.Size();
    (void)queue.Full();
    Expect(queue.TaskDone());
    Expect(queue.JoinTasks(AtOnce()));
    auto place = queue.Reserve(100, AtOnce());
    Expect(place.status());
    if (place.ok()) Expect(place->Commit(0, 50));
  }
  queue.Shutdown(/*immediate=*/true);
  Expect(queue.Get(AtOnce(), Read));
}

}  // namespace
}  // namespace mp::internal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using mp::internal::QueueCore;
  absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto queue = mp::internal::Make();
  // What a page of zeros would be.
  uint64_t window_bytes = 0;
  MP_CHECK_OK(pread(queue->memory_fd(), &window_bytes, sizeof(window_bytes),
                    offsetof(mp::internal::QueueHead, window_bytes)) ==
                      sizeof(window_bytes)
                  ? absl::OkStatus()
                  : absl::InternalError("pread"));
  mp::internal::Damage(*queue, input, window_bytes);
  absl::StatusOr<mp::Fd> memory = mp::Fd::DupOf(queue->memory_fd());
  MP_CHECK_OK(memory);
  auto attached = QueueCore::Attach(*std::move(memory));
  mp::internal::Expect(attached.status());
  if (!attached.ok()) return 0;
  mp::internal::Damage(*queue, input, window_bytes);
  mp::internal::Use(**attached);
  return 0;
}
