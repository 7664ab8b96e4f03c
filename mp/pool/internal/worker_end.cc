#include "mp/pool/internal/worker_end.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/deadline.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/base/parking.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/runner.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

absl::string_view BytesOf(const FromWorkerHead& head) {
  return {reinterpret_cast<const char*>(&head), sizeof(head)};
}

}  // namespace

WorkerEnd::WorkerEnd(Connection socket, SharedMemory memory, Fd bell)
    : socket_(std::move(socket)),
      memory_(std::move(memory)),
      bell_(std::move(bell)),
      tasks_(shared().board.tasks, absl::MakeSpan(shared().tasks)),
      results_(shared().board.results, absl::MakeSpan(shared().results)) {}

absl::StatusOr<ToWorker> WorkerEnd::Hear() {
  while (true) {
    if (const std::optional<size_t> size = tasks_.Next()) return Take(*size);
    if (tasks_.damaged()) {
      return absl::DataLossError("what the pool has written is no messages");
    }
    if (!Await([&] { return !tasks_.IsEmpty(); }).ok()) {
      return absl::OutOfRangeError("the pool is gone");
    }
  }
}

absl::StatusOr<Parcel> WorkerEnd::TakeParcel(ToWorker& message) {
  if (!message.is_in_socket) return std::move(message.parcel);
  message.is_in_socket = false;
  Parcel parcel;
  MP_RETURN_IF_ERROR(RunCatching([&]() -> absl::Status {
    MP_ASSIGN_OR_RETURN(ToWorker received, socket_.Recv<ToWorker>());
    parcel = std::move(received.parcel);
    return absl::OkStatus();
  }));
  return parcel;
}

ToWorker WorkerEnd::Take(size_t bytes) {
  ToWorkerHead head;
  tasks_.Read(&head, sizeof(head));
  ToWorker message;
  message.kind = head.kind;
  message.has_limit = head.has_limit != 0;
  message.job = head.job;
  message.run = head.run;
  message.first = head.first;
  message.items = head.items;
  message.number = head.number;
  message.parcel.bytes.resize(bytes - sizeof(head));
  tasks_.Read(message.parcel.bytes.data(), message.parcel.bytes.size());
  tasks_.Finish();
  if (tasks_.TakeWantsRoom()) RingBell();
  message.is_in_socket = head.form == RingForm::kBySocket;
  return message;
}

absl::Status WorkerEnd::Say(const FromWorker& message) {
  FromWorkerHead head = {.form = RingForm::kPlain,
                         .kind = message.kind,
                         .run = message.item.run,
                         .item = message.item.item};
  const bool ok = message.outcome.ok();
  if (ok && message.outcome->handles.empty() &&
      message.outcome->bytes.size() <= kMaxInRing) {
    return Push(head, message.outcome->bytes);
  }
  if (!ok) {
    Encoder encoder;
    encoder.Write(message);
    MP_ASSIGN_OR_RETURN(const Parcel parcel, std::move(encoder).Finish());
    if (parcel.handles.empty() && parcel.bytes.size() <= kMaxInRing) {
      head.form = RingForm::kEncoded;
      return Push(head, parcel.bytes);
    }
  }
  MP_RETURN_IF_ERROR(socket_.Send(message));
  head.form = RingForm::kBySocket;
  return Push(head, {});
}

absl::Status WorkerEnd::Push(const FromWorkerHead& head,
                             absl::string_view body) {
  while (!results_.Push(BytesOf(head), body)) {
    if (results_.damaged()) {
      return absl::UnavailableError("the pool has spoilt the ring");
    }
    const size_t bytes = sizeof(head) + body.size();
    results_.WantRoom();
    MP_RETURN_IF_ERROR(Await([&] { return results_.HasRoomFor(bytes); }));
  }
  std::atomic<uint32_t>& sleeps = board().pool_sleeps;
  if (sleeps.load() != 0 && sleeps.exchange(0) != 0) RingBell();
  return absl::OkStatus();
}

absl::Status WorkerEnd::Await(absl::FunctionRef<bool()> ready) {
  for (int i = 0; i < kLooks; ++i) {
    if (ready()) return absl::OkStatus();
    Pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (ready()) return absl::OkStatus();
    sched_yield();
  }
  return Sleep(ready);
}

absl::Status WorkerEnd::Sleep(absl::FunctionRef<bool()> ready) {
  FutexWord& sleeps = board().worker_sleeps;
  while (true) {
    sleeps.store(1);
    if (ready()) break;
    if (FutexWait(sleeps, 1, Deadline(absl::Seconds(1))) !=
        FutexResult::kTimedOut) {
      continue;
    }
    if (PoolIsGone()) return absl::UnavailableError("the pool is gone");
  }
  sleeps.store(0);
  return absl::OkStatus();
}

bool WorkerEnd::PoolIsGone() const {
  pollfd fd = {socket_.fileno(), POLLRDHUP, 0};
  return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLRDHUP | POLLHUP)) != 0;
}

void WorkerEnd::RingBell() {
  const uint64_t one = 1;
  // It cannot fail but for a full counter, which rings as well.
  if (write(bell_.get(), &one, sizeof(one)) < 0) return;
}

}  // namespace mp::internal
