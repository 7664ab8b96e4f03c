#include "mp/pool/internal/pool_end.h"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mp/base/fd.h"
#include "mp/base/futex.h"
#include "mp/base/status_macros.h"
#include "mp/pool/internal/worker_board.h"
#include "mp/pool/internal/worker_message.h"
#include "mp/process/decoder.h"
#include "mp/process/parcel.h"

namespace mp::internal {
namespace {

absl::StatusOr<Parcel> Copy(const ParcelView& parcel) {
  Parcel copy{std::string(parcel.bytes), {}};
  for (const Fd& fd : parcel.handles) {
    MP_ASSIGN_OR_RETURN(Fd duplicate, fd.Dup());
    copy.handles.push_back(std::move(duplicate));
  }
  return copy;
}

absl::StatusOr<FromWorker> Decode(std::string bytes) {
  Decoder decoder(Parcel{std::move(bytes), {}});
  MP_ASSIGN_OR_RETURN(FromWorker message, decoder.Read<FromWorker>());
  MP_RETURN_IF_ERROR(decoder.ExpectEnd());
  return message;
}

}  // namespace

PoolEnd::PoolEnd(Connection socket, SharedMemory memory, Fd bell)
    : socket_(std::move(socket)),
      memory_(std::move(memory)),
      bell_(std::move(bell)),
      tasks_(shared().board.tasks, absl::MakeSpan(shared().tasks)),
      results_(shared().board.results, absl::MakeSpan(shared().results)) {}

absl::Status PoolEnd::Say(ToWorker message, const ParcelView& parcel) {
  const ToWorkerHead head = {.form = RingForm::kPlain,
                             .kind = message.kind,
                             .has_limit = message.has_limit,
                             .job = message.job,
                             .run = message.run,
                             .first = message.first,
                             .items = message.items,
                             .number = message.number};
  if (!parcel.handles.empty() || parcel.bytes.size() > kMaxInRing) {
    return SayBySocket(head, std::move(message), parcel);
  }
  return Push(head, parcel.bytes);
}

// The room in the ring comes first: what is sent must be announced.
absl::Status PoolEnd::SayBySocket(ToWorkerHead head, ToWorker message,
                                  const ParcelView& parcel) {
  MP_RETURN_IF_ERROR(EnsureRoomFor(sizeof(head)));
  MP_ASSIGN_OR_RETURN(message.parcel, Copy(parcel));
  const absl::Status sent = socket_.Send(message, absl::ZeroDuration());
  if (absl::IsDeadlineExceeded(sent)) {
    return absl::UnavailableError(
        "the worker has not read what was sent before");
  }
  MP_RETURN_IF_ERROR(sent);
  head.form = RingForm::kBySocket;
  return Push(head, {});
}

absl::Status PoolEnd::Push(const ToWorkerHead& head, absl::string_view body) {
  MP_RETURN_IF_ERROR(EnsureRoomFor(sizeof(head) + body.size()));
  tasks_.Push({reinterpret_cast<const char*>(&head), sizeof(head)}, body);
  WakeWorker();
  return absl::OkStatus();
}

absl::Status PoolEnd::EnsureRoomFor(size_t bytes) {
  if (tasks_.HasRoomFor(bytes)) return absl::OkStatus();
  tasks_.WantRoom();
  if (tasks_.HasRoomFor(bytes)) return absl::OkStatus();
  return absl::UnavailableError("the worker has not read what was sent before");
}

void PoolEnd::WakeWorker() {
  FutexWord& sleeps = board().worker_sleeps;
  if (sleeps.load() != 0 && sleeps.exchange(0) != 0) FutexWake(sleeps, 1);
}

std::optional<FromWorker> PoolEnd::Hear() {
  const std::optional<size_t> size = results_.Next();
  if (damaged() || !size.has_value()) return std::nullopt;
  FromWorkerHead head;
  if (*size < sizeof(head)) {
    damaged_ = true;
    return std::nullopt;
  }
  results_.Read(&head, sizeof(head));
  FromWorker message = Read(head, *size - sizeof(head));
  results_.Finish();
  if (results_.TakeWantsRoom()) WakeWorker();
  if (damaged_) return std::nullopt;
  return message;
}

FromWorker PoolEnd::Read(const FromWorkerHead& head, size_t bytes) {
  FromWorker message;
  message.kind = head.kind;
  message.item = {head.run, head.item};
  if (head.kind > FromWorker::Kind::kRanAllUpTo) {
    damaged_ = true;
  } else if (head.form == RingForm::kBySocket) {
    return Receive(head);
  } else if (head.form == RingForm::kPlain) {
    std::string& into = message.outcome->bytes;
    into.resize(bytes);
    results_.Read(into.data(), bytes);
  } else {
    std::string encoded(bytes, '\0');
    results_.Read(encoded.data(), bytes);
    absl::StatusOr<FromWorker> decoded = Decode(std::move(encoded));
    if (decoded.ok()) return *std::move(decoded);
    damaged_ = true;
  }
  return message;
}

// One that cannot be received, for want of descriptors or memory, costs an item
// its result.
FromWorker PoolEnd::Receive(const FromWorkerHead& head) {
  absl::StatusOr<FromWorker> message =
      socket_.Recv<FromWorker>(absl::ZeroDuration());
  if (message.ok()) return *std::move(message);
  FromWorker lost;
  lost.kind = head.kind;
  lost.item = {head.run, head.item};
  lost.outcome = absl::Status(message.status().code(),
                              absl::StrCat("the result cannot be received: ",
                                           message.status().message()));
  return lost;
}

bool PoolEnd::AskForBell() {
  board().pool_sleeps.store(1);
  return HasMessage();
}

void PoolEnd::AnswerBell(bool rings) {
  board().pool_sleeps.store(0);
  uint64_t count;
  if (rings && read(bell_.get(), &count, sizeof(count)) < 0) {
    // Another look will not hurt.
  }
}

}  // namespace mp::internal
